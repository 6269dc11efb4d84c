"""What a base is: a recipe that yields the same frozen weights every time."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor


class Base(ABC):
    """A recipe for the frozen weights of a network; subclasses are frozen dataclasses, stored by `spec.describe`."""

    @abstractmethod
    def weights(self, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
        """Return the float32 weights of each parameter, the same on every call.

        Args:
            shapes: the shape of each maskable parameter, `out x in` or `out x in x kernel ...`.
        """


def fingerprint(weights: Mapping[str, Tensor]) -> str:
    """Return a SHA-256 over names, shapes, types and bytes of the weights, in hexadecimal.

    Example:
        >>> fingerprint({"weight": torch.zeros(2)}) == fingerprint({"weight": torch.zeros(3)})
        False
    """
    digest = hashlib.sha256()
    for name in sorted(weights):
        tensor = weights[name].detach().cpu().contiguous()
        digest.update(f"{name}\0{tuple(tensor.shape)}\0{tensor.dtype}\0".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
