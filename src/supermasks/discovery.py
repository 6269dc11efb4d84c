"""Finds the classes in the files of a package, so that a new file is all that a new class needs."""

from collections.abc import Iterable
from importlib import import_module
from inspect import isabstract
from pkgutil import iter_modules
from types import ModuleType
from typing import TypeVar

Kind = TypeVar("Kind")


def classes_in(package: str, path: Iterable[str], root: type[Kind]) -> dict[str, type[Kind]]:
    """Import every file of a package, and return the classes in them that can be made, by name.

    Args:
        package: its name.
        path: where its files are (`__path__`).
        root: the class that the others are subclasses of.
    """
    modules = [import_module(f"{package}.{module.name}") for module in iter_modules(path)]
    return {name: kind for module in modules for name, kind in _defined(module, root)}


def _defined(module: ModuleType, root: type[Kind]) -> Iterable[tuple[str, type[Kind]]]:
    for name, value in vars(module).items():
        own = isinstance(value, type) and issubclass(value, root) and value.__module__ == module.__name__
        if own and not isabstract(value) and not name.startswith("_"):
            yield name, value
