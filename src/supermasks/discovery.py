"""Finds the classes in the files of a package, so that a new file is all that a new class needs."""

from collections.abc import Iterable
from importlib import import_module
from inspect import isabstract
from pkgutil import iter_modules
from typing import TypeVar

Kind = TypeVar("Kind")


def classes_in(package: str, path: Iterable[str], root: type[Kind]) -> dict[str, type[Kind]]:
    """Import every file of a package, and return the classes in them that can be made, by name.

    Args:
        package: its name.
        path: where its files are (`__path__`).
        root: the class that the others are subclasses of.
    """
    found: dict[str, type[Kind]] = {}
    for module in iter_modules(path):
        name = f"{package}.{module.name}"
        kinds = [value for value in vars(import_module(name)).values() if isinstance(value, type)]
        found |= {kind.__name__: kind for kind in kinds if issubclass(kind, root) and _is_found(kind, name)}
    return found


def _is_found(kind: type, module: str) -> bool:
    """Return whether a class is defined in a module, for others to use."""
    return kind.__module__ == module and not isabstract(kind) and not kind.__name__.startswith("_")
