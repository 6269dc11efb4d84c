"""What a base is: a recipe that yields the same frozen values every time."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from supermasks.anatomy import Part
from supermasks.spec import Settings


class Base(Settings, ABC):
    """A recipe for the frozen values of a network; subclasses are frozen dataclasses, stored by `spec.describe`."""

    @abstractmethod
    def values(self, parts: Sequence[Part], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the value of each part, the same on every call, in memory of its own.

        Args:
            parts: the parameters and buffers of a module.
            own: the values that the module came with, by name, float32 where they are floating point.
        """

    def kept(self, parts: Sequence[Part]) -> list[str]:
        """Return the names of the parts that keep the module's own value and that no recipe brings back.

        A bank stores these values, once for all tasks.
        """
        return [part.name for part in parts if part.value == "own"]

    def identified(self, fingerprint: str) -> "Base":
        """Return this base for a network with this fingerprint.

        Raises:
            BaseMismatchError: the recipe is one of other values.
        """
        del fingerprint  # the recipe says it all
        return self


class Recipe(Base):
    """A base that computes the weights that can be masked; biases are 0, normalisation is plain, all else stays.

    Attributes:
        zero_padding: whether the row of an embedding that stands for padding is 0, as torch has it.
    """

    zero_padding: bool = True

    @abstractmethod
    def weights(self, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
        """Return float32 weights for parameters of these shapes, `out x in` or `out x in x kernel ...`."""

    def values(self, parts: Sequence[Part], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
        drawn = self._drawn([part for part in parts if part.value == "base"])
        constants = {"zero": torch.zeros_like, "one": torch.ones_like, "own": torch.clone}
        return {p.name: drawn[p.name] if p.value == "base" else constants[p.value](own[p.name]) for p in parts}

    def _drawn(self, parts: Sequence[Part]) -> dict[str, Tensor]:
        """Return the weights of these parts, in the layout and with the row of padding that their layers expect."""
        turned = {part.name: part.inputs_first for part in parts}
        shapes = {part.name: _turned(part.shape) if part.inputs_first else part.shape for part in parts}
        drawn = {n: w.transpose(0, 1).contiguous() if turned[n] else w for n, w in self.weights(shapes).items()}
        for part in parts:
            if part.padding is not None and self.zero_padding:
                drawn[part.name][part.padding] = 0.0
        return drawn


def _turned(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (shape[1], shape[0], *shape[2:])


def fingerprint(values: Mapping[str, Tensor]) -> str:
    """Return a SHA-256 over names, shapes, types and bytes of the values, in hexadecimal.

    Example:
        >>> fingerprint({"weight": torch.zeros(2)}) == fingerprint({"weight": torch.zeros(3)})
        False
    """
    digest = hashlib.sha256()
    for name in sorted(values):
        tensor = values[name].detach().cpu().contiguous()
        digest.update(f"{name}\0{tuple(tensor.shape)}\0{tensor.dtype}\0".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
