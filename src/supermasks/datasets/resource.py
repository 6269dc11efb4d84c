"""The description of a data set or a model: its file formats, and the ways to get it."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from supermasks.data.sources import ImageSource

Route = Callable[[Path], Mapping[str, bytes]]
"""Gets a resource: takes an empty folder to work in, and returns the uncompressed content of its files, by name.

Raises DataUnavailableError with the reason if that fails."""


def _nothing() -> Mapping[str, str | None]:
    return MappingProxyType({})


def _nowhere() -> Mapping[str, Route]:
    return MappingProxyType({})


@dataclass(frozen=True)
class Layout:
    """One file format of a data set.

    Attributes:
        files: the names of all required files; a name that ends in `/` is a folder.
        read: makes the source from the paths of these files, by their names.
    """

    files: tuple[str, ...]
    read: Callable[[Mapping[str, Path]], ImageSource]


@dataclass(frozen=True, kw_only=True)
class Resource:
    """A data set or a trained model that has a name and, if there are routes, can be fetched.

    Attributes:
        name: of the resource and of its folder.
        origin: where a person gets it if there is no route.
        routes: the ways to get it, by their titles, in the order in which they are tried.
        digests: the SHA-256 (hexadecimal) of the uncompressed content of each file that is fetched, by its name; None
            if it is unknown.
        packed: the files that are kept as `.gz`.
    """

    name: str
    origin: str
    routes: Mapping[str, Route] = field(default_factory=_nowhere)
    digests: Mapping[str, str | None] = field(default_factory=_nothing)
    packed: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class DataSet(Resource):
    """A data set of images.

    Attributes:
        layouts: its file formats, in the order in which they are looked for.
        folders: the names of the folders that its archives unpack to, in addition to its own name.
        installed: folders into which a system package may have installed it.
    """

    layouts: tuple[Layout, ...]
    folders: tuple[str, ...] = ()
    installed: tuple[Path, ...] = ()


def find_file(folder: Path, name: str) -> Path | None:
    """Return the file `name` in `folder`, in any of its usual spellings, or the folder if the name ends in `/`."""
    if name.endswith("/"):
        return folder / name if (folder / name).is_dir() else None
    dotted = name.replace("-idx", ".idx")
    # The spelling that `fetch` writes comes first, so that a verified file wins over another one.
    candidates = (folder / spelled for spelled in (f"{name}.gz", name, f"{dotted}.gz", dotted))
    return next((path for path in candidates if path.is_file()), None)


def find_files(folder: Path, names: Iterable[str]) -> dict[str, Path] | None:
    """Return the paths of the files `names` in `folder`; None if one is missing."""
    found = {name: find_file(folder, name) for name in names}
    return {name: path for name, path in found.items() if path is not None} if all(found.values()) else None
