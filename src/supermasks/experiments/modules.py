"""Imports every module of a folder, so that a new file is found without an entry in any list."""

from collections.abc import Iterable
from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType


def import_all(package: str, path: Iterable[str]) -> list[ModuleType]:
    """Import the modules of a package, and return them in the order of their names."""
    return [import_module(f"{package}.{module.name}") for module in iter_modules(path)]
