"""What a bank was learned over."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

from supermasks.encoding import Layout
from supermasks.errors import BankFormatError, BaseMismatchError
from supermasks.network import Network
from supermasks.normalisation import NORM_POLICIES, NormPolicy
from supermasks.spec import describe
from supermasks.task_info import MOST_DIMENSIONS

MOST_WEIGHTS = 2**31
"""Masks of more weights are only read with a network to compare with: a small file could claim any number."""


@dataclass(frozen=True)
class BankHeader:
    """What a bank was learned over: enough to rebuild the weights, and to notice other weights.

    Attributes:
        base: the recipe of the base, as JSON data.
        fingerprint: of the base weights.
        shapes: the shape of each maskable parameter.
        settings: how tasks are learned and recognised, as JSON data. The bank keeps it, and reads nothing but the
            tasks of a calibration in it.
        norm: the network's policy for batch-norm statistics.
        head: the name of the layer that each task has its own copy of, if any.
        buffers: the type and shape of each buffer of the network, such as `("float32", (64,))`.
    """

    base: Mapping[str, Any]
    fingerprint: str
    shapes: Mapping[str, tuple[int, ...]]
    settings: Mapping[str, Any]
    norm: NormPolicy = "per_task"
    head: str | None = None
    buffers: Mapping[str, tuple[str, tuple[int, ...]]] = field(default_factory=dict[str, tuple[str, tuple[int, ...]]])

    @classmethod
    def of(cls, network: Network, settings: Mapping[str, Any] | None = None) -> "BankHeader":
        """Return the header of a bank over this network."""
        buffers = {
            name: (str(value.dtype).removeprefix("torch."), tuple(value.shape))
            for name, value in network.fresh_buffers().items()
        }
        base, shapes = describe(network.base), network.shapes
        return cls(base, network.fingerprint, shapes, settings or {}, network.norm, network.head, buffers)

    @classmethod
    def from_described(cls, stored: Mapping[str, Any], file: Path) -> "BankHeader":
        """Return the header that `described` returned.

        Args:
            stored: the fields; others are ignored.
            file: where they come from, in errors.

        Raises:
            BankFormatError: the policy of normalisation is unknown.
            ValueError: a shape is invalid.
            KeyError: a field is missing.
        """
        if stored["norm"] not in NORM_POLICIES:
            raise BankFormatError(f"{file} names the unknown policy {stored['norm']!r}")
        return cls(
            stored["base"],
            str(stored["fingerprint"]),
            {name: _shape(shape) for name, shape in stored["shapes"].items()},
            stored["settings"],
            stored["norm"],
            stored["head"],
            {name: (str(dtype), _shape(shape)) for name, (dtype, shape) in stored["buffers"].items()},
        )

    def described(self) -> dict[str, Any]:
        """Return the header as JSON data."""
        names = ("base", "fingerprint", "shapes", "buffers", "norm", "head", "settings")
        values = ((name, getattr(self, name)) for name in names)
        return {name: dict(value) if isinstance(value, Mapping) else value for name, value in values}

    def differing(self, other: "BankHeader") -> list[str]:
        """Return the fields that banks over the same network share, and in which these differ."""
        same = ("fingerprint", "shapes", "norm", "head", "buffers")
        return [name for name in same if getattr(self, name) != getattr(other, name)]

    @property
    def layout(self) -> Layout:
        """What all tasks have in common, so that their files need not say it."""
        return Layout(self.shapes, self.buffers)

    def weights(self) -> int:
        """Return how many weights a mask covers."""
        return sum(map(prod, self.shapes.values()))

    def most_bytes(self) -> int:
        """Return the most bytes that a task's file may have."""
        return 2**30 + 16 * (self.weights() + sum(prod(shape) for _, shape in self.buffers.values()))

    def check_size(self, most: int = MOST_WEIGHTS) -> None:
        """Raise BankFormatError if masks cover too many weights to be read without a network.

        Args:
            most: the most weights to accept.
        """
        if self.weights() > most:
            raise BankFormatError(
                f"expected masks over at most {most:,} weights, but the bank claims {self.weights():,}; pass the "
                "backbone of the bank to have this checked, as in Learner.load(folder, backbone)"
            )

    def check(self, network: Network) -> None:
        """Raise BaseMismatchError unless the network has the weights that the bank was learned over."""
        if network.fingerprint != self.fingerprint or network.shapes != dict(self.shapes):
            raise BaseMismatchError(
                f"the bank was learned over {dict(self.base)} with layers {dict(self.shapes)} and digest "
                f"{self.fingerprint}, but the network has {describe(network.base)} with layers {network.shapes} "
                f"and digest {network.fingerprint}; build the network from the same backbone and base"
            )
        if (network.norm, network.head) != (self.norm, self.head):
            raise BaseMismatchError(
                f"the bank was learned with norm={self.norm!r} and head={self.head!r}, but the network has "
                f"norm={network.norm!r} and head={network.head!r}; build it with the bank's norm and head"
            )


def _shape(stored: list[Any]) -> tuple[int, ...]:
    if any(type(n) is not int or n < 0 for n in stored) or len(stored) > MOST_DIMENSIONS or prod(stored) >= 2**63:
        raise ValueError(f"{stored!r} is not the shape of a tensor")
    return tuple(stored)
