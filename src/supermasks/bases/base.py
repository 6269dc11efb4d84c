"""The interface of bases: recipes that always yield the same frozen values."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from supermasks.anatomy import Part
from supermasks.errors import ConfigError
from supermasks.spec import Settings
from supermasks.types import Shape


class Base(Settings, ABC):
    """A recipe for the frozen values of a network. Subclasses are frozen dataclasses, stored by `spec.describe`."""

    @abstractmethod
    def values(self, parts: Sequence[Part], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the value of each part: a copy, the same on every call.

        Args:
            parts: the parameters and buffers of a module.
            own: the original values of the module, by name; floats as float32.
        """

    def kept(self, parts: Sequence[Part]) -> list[str]:
        """Return the names of the parts whose original value cannot be recomputed.

        A bank stores these values, once for all tasks.
        """
        return [part.name for part in parts if part.value == "own"]

    def identified(self, fingerprint: str) -> "Base":
        """Return this base, bound to a network with this fingerprint.

        Raises:
            BaseMismatchError: the base stands for other values.
        """
        del fingerprint  # a recipe determines its values
        return self


class ComputedBase(Base):
    """A base that computes the maskable weights. Biases are 0, normalisation is the identity, the rest stays.

    Attributes:
        zero_padding: whether the padding row of an embedding is 0, as in torch.
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
        """Return the weights of these parts, in the layout of their layers, with padding rows set to 0."""
        transposed = {part.name: part.inputs_first for part in parts}
        shapes = {part.name: _transposed(part.shape) if part.inputs_first else part.shape for part in parts}
        found = self.weights(shapes)
        check_values(f"{type(self).__name__}.weights", found, {n: (s, torch.float32) for n, s in shapes.items()})
        drawn = {n: w.transpose(0, 1).contiguous() if transposed[n] else w for n, w in found.items()}
        for part in parts:
            if part.padding is not None and self.zero_padding:
                drawn[part.name][part.padding] = 0.0
        return drawn


def check_values(what: str, found: Mapping[str, Tensor], expected: Mapping[str, tuple[Shape, torch.dtype]]) -> None:
    """Raise ConfigError unless a base gives each parameter a value of its shape and type, and no others.

    Args:
        what: the method of the base that gave the values.
        found: the values.
        expected: the shape and the type of each parameter.
    """
    got = {name: (tuple(value.shape), value.dtype) for name, value in found.items()}
    for name in {**expected, **got}:
        if expected.get(name) != got.get(name):
            raise ConfigError(
                f"{what} must return a tensor for each parameter, in its shape and type, and no others: expected "
                f"{_in_words(expected.get(name))} for {name!r}, got {_in_words(got.get(name))}"
            )


def _in_words(kind: tuple[Shape, torch.dtype] | None) -> str:
    return "none" if kind is None else f"{kind[1]} of shape {kind[0]}"


def _transposed(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (shape[1], shape[0], *shape[2:])


def fingerprint(values: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of names, shapes, types and bytes of the values, in hexadecimal.

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
