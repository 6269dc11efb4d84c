"""The Hebbian rule."""

from dataclasses import dataclass

import torch
from torch import Tensor

from supermasks.hopfield.rule import HopfieldRule


@dataclass(frozen=True)
class Hebbian(HopfieldRule):
    """Add the outer product: `Psi <- Psi + z z^T / d` (SupSup, Section 3.5).

    It holds about `d / (2 ln d)` random strings without an error.

    Example:
        >>> Hebbian().stored(torch.zeros(2, 2), torch.tensor([1.0, -1.0]))
        tensor([[ 0.5000, -0.5000],
                [-0.5000,  0.5000]])
    """

    def stored(self, matrix: Tensor, string: Tensor) -> Tensor:
        return torch.addr(matrix, string, string, alpha=1 / len(string))
