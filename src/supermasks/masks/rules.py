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
    def densities(self, shapes: Shapes) -> dict[str, float] | None:
        """Return the density of each parameter of these shapes; None for a rule that learns them.

        Raises:
            DensityError: what `masks` would raise.
        """


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
        return dict(zip(scores, _ThresholdStraightThrough.apply(self.threshold, *scores.values()), strict=True))

    def densities(self, shapes: Shapes) -> None:
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
        densities = self.densities({name: tuple(score.shape) for name, score in scores.items()})
        kept = tuple(round(densities[name] * score.numel()) for name, score in scores.items())
        return dict(zip(scores, _TopKStraightThrough.apply(0, kept, *scores.values()), strict=True))

    def kept(self, shapes: Shapes) -> dict[str, int]:
        """Return how many weights each layer keeps, `round(density_l * n_l)`."""
        return {name: round(density * prod(shapes[name])) for name, density in self.densities(shapes).items()}

    def densities(self, shapes: Shapes) -> dict[str, float]:
        budget = self.budget if isinstance(self.budget, Budget) else Uniform(self.budget)
        return budget.densities(shapes)


# All parameters at once: calling into autograd costs as much as the mask of a small layer. Both have a rule of their
# own for `torch.vmap`, by which many tasks are trained together; a generated one would loop over operations in place.


class _ThresholdStraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(threshold: float, *scores: Tensor) -> tuple[Tensor, ...]:
        # In place on a copy: the comparison then writes floats directly, 8x faster than bool followed by a cast.
        return tuple(score.detach().clone().ge_(threshold) for score in scores)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        return None, *gradients

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *inputs: Any) -> tuple[Any, ...]:
        return _ThresholdStraightThrough.apply(*inputs), in_dims[1:]


class _TopKStraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(stacked: int, kept: tuple[int, ...], *scores: Tensor) -> tuple[Tensor, ...]:
        return tuple(_largest(score, k, stacked) for score, k in zip(scores, kept, strict=True))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*inputs[2:])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        # Not torch.sign, which is 0 at 0: a score of exactly 0 must still be able to move.
        return (
            None,
            None,
            *(
                None if gradient is None else torch.where(score < 0, -gradient, gradient)
                for score, gradient in zip(ctx.saved_tensors, gradients, strict=True)
            ),
        )

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *inputs: Any) -> tuple[Any, ...]:
        stacked, kept, *scores = inputs
        rows = [
            score.expand(info.batch_size, *score.shape) if dim is None else score.movedim(dim, 0)
            for score, dim in zip(scores, in_dims[2:], strict=True)
        ]
        return _TopKStraightThrough.apply(stacked + 1, kept, *rows), (0,) * len(rows)


def _largest(scores: Tensor, kept: int, stacked: int) -> Tensor:
    """Return the mask of the `kept` largest magnitudes; `stacked` leading dimensions count masks, the rest entries."""
    magnitudes = scores.detach().abs().flatten(stacked)
    # Unsorted: sorting what was selected would cost five times the selection.
    selected = magnitudes.topk(kept, sorted=False).indices
    if stacked:  # positions in all masks laid end to end
        starts = torch.arange(0, magnitudes.numel(), magnitudes.shape[-1], device=scores.device)
        selected = (selected.flatten(0, -2) + starts.unsqueeze(1)).flatten()
    mask = torch.zeros(scores.shape, dtype=scores.dtype, device=scores.device)
    mask.view(-1).index_fill_(0, selected, 1.0)  # half the time of scattering
    return mask
