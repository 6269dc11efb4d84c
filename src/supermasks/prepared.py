"""Weights that stay in a module between calls, so that an answer costs what the plain module costs."""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from typing import Any

from torch import Tensor, nn


class Prepared:
    """Puts tensors into a module in place of its own, and keeps those of the owners that came last.

    Args:
        module: whose parameters and buffers are replaced, and can be put back.
        limit: how many bytes the kept tensors may take; those of the last owner are always kept.
        writable: names of buffers that the module may write into when it is called, and the names that their values
            are kept by: it gets a copy of these at each installation.

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
        """Put the tensors of an owner into the module: one pass over their names, and none if they are in it already.

        Of buffers that the module may write into, it gets new copies even then.

        Args:
            owner: whose tensors these are; not None.
            make: gives them, by name, where they are not kept.
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
        """Put the module's own tensors back."""
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
