"""Weights that stay in a module between calls, so that prediction costs as much as the plain module."""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from typing import Any

from torch import Tensor, nn


class Prepared:
    """Replaces the tensors of a module by those of an owner, and caches the tensors of recent owners.

    Args:
        module: its parameters and buffers are replaced, and can be restored.
        limit: the most bytes for cached tensors; those of the last owner are always kept.
        writable: maps the names of buffers that the module may write into to the names of their values; each
            installation gives the module a fresh copy of them.

    Attributes:
        own: the module's own tensors, by name.

    Example:
        >>> import torch
        >>> module = nn.Linear(1, 1, bias=False)
        >>> prepared = Prepared(module, limit=1000)
        >>> prepared.install("task", lambda: {"weight": torch.tensor([[3.0]])})
        >>> module(torch.ones(1, 1))
        tensor([[3.]])
        >>> prepared.remove()
        >>> module.weight is prepared.own["weight"]
        True
    """

    def __init__(self, module: nn.Module, limit: int, writable: Mapping[str, str] | None = None) -> None:
        self._limit, self._writable = limit, writable or {}
        self._places: dict[str, tuple[dict[str, Any], str]] = {}
        for path, layer in module.named_modules():
            for place in (layer._parameters, layer._buffers):  # pyright: ignore[reportPrivateUsage]
                self._places |= {f"{path}.{short}" if path else short: (place, short) for short in place}
        self.own: dict[str, Any] = {name: place[short] for name, (place, short) in self._places.items()}
        self._kept: OrderedDict[Hashable, dict[str, Tensor]] = OrderedDict()
        self._installed: Hashable = None

    def __len__(self) -> int:
        return len(self._kept)

    def install(self, owner: Hashable, make: Callable[[], dict[str, Tensor]]) -> None:
        """Put the tensors of an owner into the module; if they are in it already, only renew the writable buffers.

        Args:
            owner: identifies the tensors; not None.
            make: returns them, by name; called if they are not cached.
        """
        if owner != self._installed:
            self._install(owner, make)
        kept = self._kept[owner]
        for alias, name in self._writable.items():
            place, short = self._places[alias]
            place[short] = (kept[name] if name in kept else self.own[name]).clone()

    def _install(self, owner: Hashable, make: Callable[[], dict[str, Tensor]]) -> None:
        self.remove()
        if owner not in self._kept:
            self._kept[owner] = make()
            self._forget()
        self._kept.move_to_end(owner)
        for name, value in self._kept[owner].items():
            place, short = self._places[name]
            place[short] = value
        self._installed = owner

    def remove(self) -> None:
        """Restore the module's own tensors."""
        if self._installed is None:
            return
        for name in {**self._kept[self._installed], **self._writable}:
            place, short = self._places[name]
            place[short] = self.own[name]
        self._installed = None

    def _forget(self) -> None:
        sizes = [sum(v.numel() * v.element_size() for v in tensors.values()) for tensors in self._kept.values()]
        while len(sizes) > 1 and sum(sizes) > self._limit:
            self._kept.popitem(last=False)
            sizes.pop(0)
