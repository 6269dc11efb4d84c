"""The classes of settings that this library has, without those that tests define."""

from typing import TypeVar

from supermasks.spec import kinds

Kind = TypeVar("Kind")


def ours(root: type[Kind]) -> list[type[Kind]]:
    return [kind for kind in kinds(root) if kind.__module__.startswith("supermasks.")]
