"""What layers hold outside of their parameters and buffers, at one moment."""

from collections import deque
from collections.abc import Collection, Iterable
from typing import Any

from torch import Tensor

_PLAIN = (bool, int, float, str)


class Held:
    """The attributes of layers at one moment, and what is in the lists, dicts, deques and sets among these.

    Objects of other classes are not looked into.

    Args:
        places: the dicts that hold the attributes, each with the names in it that do not count.

    Example:
        >>> from types import SimpleNamespace
        >>> layer = SimpleNamespace(calls=3, outputs=[1])
        >>> held = Held([(vars(layer), ())])
        >>> layer.outputs.append(2)
        >>> layer.calls, layer.more = 4, 5
        >>> held.undo()
        True
        >>> layer
        namespace(calls=3, outputs=[1])
    """

    def __init__(self, places: Iterable[tuple[dict[str, Any], Collection[str]]]) -> None:
        self._places = [(place, without, _counting(place, without)) for place, without in places]
        containers, tensors = _within([value for _, _, values in self._places for value in values.values()])
        self._contents = [(container, _items(container)) for container in containers]
        self._versions = [(tensor, tensor._version) for tensor in tensors if not tensor.is_inference()]

    def undo(self) -> bool:
        """Undo what was set, added or removed since; return whether anything was, or a tensor was written into."""
        changed = any(tensor._version != version for tensor, version in self._versions)
        for place, without, before in self._places:
            now = _counting(place, without)
            if before.keys() != now.keys() or not _same(before.values(), [now[name] for name in before]):
                changed = True
                for name in now.keys() - before.keys():
                    del place[name]
                place.update(before)
        for container, items in self._contents:
            if not _same(items, _items(container)):
                changed = True
                _fill(container, items)
        return changed


def _counting(place: dict[str, Any], without: Collection[str]) -> dict[str, Any]:
    return {name: value for name, value in place.items() if name not in without}


def _within(values: Iterable[Any]) -> tuple[list[Any], list[Tensor]]:
    """Return the mutable containers and the tensors among values, and in containers among them."""
    found, left = dict[int, Any](), [*values]
    while left:
        value = left.pop()
        if isinstance(value, (Tensor, list, dict, deque, set, tuple)) and id(value) not in found:
            found[id(value)] = value
            if not isinstance(value, Tensor):
                left += _items(value)
    tensors = [value for value in found.values() if isinstance(value, Tensor)]
    return [value for value in found.values() if not isinstance(value, (Tensor, tuple))], tensors


def _items(container: Any) -> list[Any]:
    return [*container, *container.values()] if isinstance(container, dict) else [*container]


def _fill(container: Any, items: list[Any]) -> None:
    """Give a container the items that `_items` returned for it."""
    container.clear()
    if isinstance(container, dict):
        container.update(zip(items, items[len(items) // 2 :], strict=False))
    elif isinstance(container, set):
        container.update(items)
    else:
        container.extend(items)


def _same(before: Collection[Any], now: Collection[Any]) -> bool:
    """Return whether values are the same objects, or equal numbers and texts."""
    return len(before) == len(now) and all(
        one is other or (isinstance(one, _PLAIN) and type(one) is type(other) and one == other)
        for one, other in zip(before, now, strict=True)
    )
