"""Names of classes out of a text file, one a line."""

from pathlib import Path

from supermasks.datasets.images.idx import read_content
from supermasks.errors import DataUnavailableError


def read_names(path: Path, count: int | None = None) -> tuple[str, ...]:
    r"""Return the lines of the text file `path` that are not blank.

    Raises:
        DataUnavailableError: it is no text, holds none, or not `count` of them, or a name repeats.

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
        raise DataUnavailableError(f"{path} must be text, UTF-8, but is not ({error}); get the file again") from error
    return checked_names([line.strip() for line in lines if line.strip()], path, count)


def checked_names(names: list[str], path: Path, count: int | None = None) -> tuple[str, ...]:
    """Return the names of classes that came out of the file `path`.

    Raises:
        DataUnavailableError: there are none, or not `count` of them, or one repeats.
    """
    if not names or len(set(names)) != len(names) or (count is not None and len(names) != count):
        raise DataUnavailableError(
            f"{path} must hold {count or 'the'} names of classes that differ, but holds {len(set(names))} of them "
            f"in {len(names)} lines; check that it is the file you mean"
        )
    return tuple(names)
