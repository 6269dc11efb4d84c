"""Class names in a text file, one on each line."""

from pathlib import Path

from supermasks.datasets.files import read_content
from supermasks.errors import DataUnavailableError


def read_names(path: Path, count: int | None = None) -> tuple[str, ...]:
    r"""Return the lines of the text file `path` that are not blank.

    Raises:
        DataUnavailableError: the file is not text, has no names or another number than `count`, or a name repeats.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "classes.txt"
        >>> _ = path.write_text("cat\ndog\n\n")
        >>> read_names(path, 2)
        ('cat', 'dog')
    """
    try:
        lines = read_content(path).decode("utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise DataUnavailableError(f"{path} must be text in UTF-8, but is not ({error}); get the file again") from error
    return checked_names([line.strip() for line in lines if line.strip()], path, count)


def checked_names(names: list[str], path: Path, count: int | None = None) -> tuple[str, ...]:
    """Return the class names in the file `path`.

    Raises:
        DataUnavailableError: there are no names or another number than `count`, or one repeats.
    """
    if not names or len(set(names)) != len(names) or (count is not None and len(names) != count):
        raise DataUnavailableError(
            f"{path} must hold {count or 'at least one'} different class names, got {len(set(names))} in {len(names)} "
            "lines; check that it is the file you mean"
        )
    return tuple(names)
