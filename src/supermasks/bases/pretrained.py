"""Weights that someone trained before: named, and recognised by their digest; they are not stored again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from supermasks.anatomy import Part
from supermasks.bases.base import Base
from supermasks.errors import BaseMismatchError


@dataclass(frozen=True)
class PretrainedBase(Base):
    """The weights, biases and statistics that the module came with, such as those of a model of Hugging Face.

    Attributes:
        source: where they are to be had, for people: an id of the hub, or the path of a checkpoint.
        digest: SHA-256 over all of them (`Network.fingerprint`); filled in by the network where it is None.

    Raises:
        BaseMismatchError: a network is built of a module with other weights.

    Example:
        >>> import torch
        >>> from supermasks import Network
        >>> module = torch.nn.Linear(4, 2)
        >>> network = Network(module, PretrainedBase("my-model"))
        >>> torch.equal(network.weights["weight"], module.weight), network.base.digest == network.fingerprint
        (True, True)
    """

    source: str
    digest: str | None = None

    def values(self, parts: Sequence[Part], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {part.name: own[part.name].clone() for part in parts}

    def kept(self, parts: Sequence[Part]) -> list[str]:
        del parts  # all of them come from the source
        return []

    def identified(self, fingerprint: str) -> "PretrainedBase":
        if self.digest is None:
            return replace(self, digest=fingerprint)
        if self.digest != fingerprint:
            raise BaseMismatchError(
                f"the weights of {self.source!r} with digest {self.digest} were expected, but the module holds "
                f"weights with digest {fingerprint}; load {self.source!r} into the module first"
            )
        return self
