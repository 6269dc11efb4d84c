"""What is known of a data set or a model: the forms in which it is handed out, and the ways to get it."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from supermasks.data.sources import ImageSource

Route = Callable[[Path], Mapping[str, bytes]]
"""From an empty folder to work in, to the uncompressed content of the files of a resource, by name.

It raises DataUnavailableError, saying why, if there is no way through."""


def _nothing() -> Mapping[str, str | None]:
    return MappingProxyType({})


def _nowhere() -> Mapping[str, Route]:
    return MappingProxyType({})


@dataclass(frozen=True)
class Layout:
    """One form in which a data set is handed out.

    Attributes:
        files: the names of all that must be there; those that end in `/` are folders.
        read: makes the source out of the paths, by these names.
    """

    files: tuple[str, ...]
    read: Callable[[Mapping[str, Path]], ImageSource]


@dataclass(frozen=True, kw_only=True)
class Resource:
    """Files that can be looked for by a name and, where there are routes, fetched: a data set, or a trained model.

    Attributes:
        name: what it is asked for by.
        origin: where a person gets it, where no route leads to it.
        routes: the ways to get it, by what they are called, in the order in which they are tried.
        digests: the files that are fetched, and the SHA-256 (hexadecimal) of the uncompressed content
            of each; None where none is known.
        packed: those of the files that are kept as `.gz`.
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
        layouts: its forms, in the order in which they are looked for.
        folders: the names of the folders that its archives unpack to, beside its own name.
        installed: folders in which a system package may have put it.
    """

    layouts: tuple[Layout, ...]
    folders: tuple[str, ...] = ()
    installed: tuple[Path, ...] = ()


def find_file(folder: Path, name: str) -> Path | None:
    """Return the file of that name in `folder`, in any of its usual spellings, or the folder if it ends in `/`."""
    if name.endswith("/"):
        return folder / name if (folder / name).is_dir() else None
    dotted = name.replace("-idx", ".idx")
    # What `fetch` writes comes first, so that a verified file wins over a stray one.
    candidates = (folder / spelled for spelled in (f"{name}.gz", name, f"{dotted}.gz", dotted))
    return next((path for path in candidates if path.is_file()), None)


def find_files(folder: Path, names: Iterable[str]) -> dict[str, Path] | None:
    """Return where the files of these names are in `folder`; None if not all are there."""
    found = {name: find_file(folder, name) for name in names}
    return {name: path for name, path in found.items() if path is not None} if all(found.values()) else None
