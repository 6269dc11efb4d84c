"""The Storkey rule."""

from dataclasses import dataclass

import torch
from torch import Tensor

from supermasks.hopfield.rule import HopfieldRule


@dataclass(frozen=True)
class Storkey(HopfieldRule):
    """Add only what the matrix does not hold yet (SupSup, Equation 6).

    `Psi <- Psi + (z z^T - z (Psi z)^T - (Psi z) z^T - I) / d`. It holds more strings than the Hebbian rule, above all
    where strings resemble each other. The result depends on the order of the strings.

    Example:
        >>> Storkey().stored(torch.zeros(2, 2), torch.tensor([1.0, -1.0]))
        tensor([[ 0.0000, -0.5000],
                [-0.5000,  0.0000]])
    """

    def stored(self, matrix: Tensor, string: Tensor) -> Tensor:
        size = len(string)
        # z z^T - z f^T - f z^T = z r^T + r z^T with r = z / 2 - f, which is symmetric in every bit.
        rest = string / 2 - matrix @ string
        outer = torch.outer(string, rest)
        updated = outer.add_(outer.T.clone()).div_(size).add_(matrix)
        updated.diagonal().sub_(1 / size)
        return updated
