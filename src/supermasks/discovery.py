"""Finds the classes in the files of a package, so that a new class needs only a new file."""

from collections.abc import Iterable
from importlib import import_module
from inspect import isabstract
from pkgutil import iter_modules
from typing import TypeVar

Kind = TypeVar("Kind")


def classes_in(package: str, path: Iterable[str], root: type[Kind]) -> dict[str, type[Kind]]:
    """Import every file of a package, and return the concrete subclasses of a class in them, by name.

    Args:
        package: its name.
        path: its folders (`__path__`).
        root: the base class.
    """
    found: dict[str, type[Kind]] = {}
    for module in iter_modules(path):
        name = f"{package}.{module.name}"
        kinds = [value for value in vars(import_module(name)).values() if isinstance(value, type)]
        found |= {kind.__name__: kind for kind in kinds if issubclass(kind, root) and _is_found(kind, name)}
    return found


def is_ours(kind: type) -> bool:
    """Return whether a class is of this library, not a user's own."""
    return kind.__module__.partition(".")[0] == __name__.partition(".")[0]


def _is_found(kind: type, module: str) -> bool:
    """Return whether a class is public and defined in this module."""
    return kind.__module__ == module and not isabstract(kind) and not kind.__name__.startswith("_")
