"""Pretrained weights: named, recognised by their digest, and not stored again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from supermasks.anatomy import Part
from supermasks.bases.base import Base
from supermasks.errors import BaseMismatchError


@dataclass(frozen=True)
class PretrainedBase(Base):
    """The module's own weights, biases and statistics, such as those of a Hugging Face model.

    Attributes:
        source: tells people where to find them: an id of the hub, or the path of a checkpoint.
        digest: SHA-256 over all of them (`Network.fingerprint`); None lets the network fill it in.

    Raises:
        BaseMismatchError: the module of the network holds other weights.

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
                f"expected the weights of {self.source!r} with digest {self.digest}, got weights with digest "
                f"{fingerprint}; load {self.source!r} into the module first"
            )
        return self
