"""From real-valued scores to a binary mask, with a straight-through gradient."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from inspect import signature
from math import isfinite, prod
from typing import Any

import torch
from torch import Tensor

from supermasks.errors import ConfigError
from supermasks.masks.budgets import Budget, Uniform
from supermasks.spec import Settings
from supermasks.types import Shapes

ROUNDING = 0.01
"""How far an entry may be from 0 or 1: in `hard + soft - soft.detach()` the last two differ by rounding."""


class MaskRule(Settings, ABC):
    """Decides which weights a mask keeps, from one score a weight."""

    @abstractmethod
    def masks(self, scores: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the mask of each parameter: 0. and 1. in the dtype of its scores, with a straight-through gradient.

        Args:
            scores: one score a weight, for each parameter.

        Raises:
            DensityError: a layer cannot keep as many weights as the rule demands.
        """

    def entries(self, scores: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return which weights the mask of each parameter keeps, boolean.

        Args:
            scores: as in `masks`.

        Raises:
            ConfigError: the rule gives a parameter no mask, or a mask whose entries are not all 0 or 1.
            DensityError: as `masks`.
        """
        with torch.no_grad():
            masks = self.masks(scores)
        kept = dict[str, Tensor]()
        for name in scores:
            mask = masks.get(name)
            if mask is None:
                raise ConfigError(
                    f"{type(self).__name__}.masks must return a mask for each parameter, got none for {name!r}"
                )
            kept[name] = mask > 0.5
            hard = (mask - kept[name].to(mask.dtype)).abs() <= ROUNDING
            if not bool(hard.all()):
                raise ConfigError(
                    f"{type(self).__name__}.masks must return masks of 0 and 1, got {float(mask[~hard][0]):g} for "
                    f"{name!r}; round them, with a straight-through gradient, as in hard + soft - soft.detach()"
                )
        return kept

    def masked(self, weights: Mapping[str, Tensor], scores: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the effective weights `W * h(S)` (SupSup, Equation 1), differentiable in the scores only.

        Args:
            weights: the fixed weights of each parameter.
            scores: one score a weight, for each of the same parameters.

        Raises:
            DensityError: as `masks`.

        Example:
            >>> Threshold().masked({"w": torch.tensor([3.0, 4.0])}, {"w": torch.tensor([-0.1, 0.2])})
            {'w': tensor([0., 4.])}
        """
        return {name: weights[name] * mask for name, mask in self.masks(scores).items()}

    @abstractmethod
    def densities(self, shapes: Shapes) -> dict[str, float] | None:
        """Return the density of each parameter; None if the rule learns it.

        Raises:
            DensityError: as `masks`.
        """

    def at(self, progress: float) -> "MaskRule":
        """Return the rule for a step of the training; by default this rule.

        The mask of a task, and the masks that validation compares, are always made by the rule itself.

        Args:
            progress: from 0 in the first step to 1 in the last.
        """
        del progress
        return self


@dataclass(frozen=True)
class Threshold(MaskRule):
    """Keep the weights whose score is at least a threshold (SupSup, Section 4.2, after Mallya et al.).

    `M = [S >= threshold]` forward, `dM/dS = 1` backward.

    Raises:
        ConfigError: the threshold is not a finite number.

    Example:
        >>> Threshold().masks({"weight": torch.tensor([-0.1, 0.0, 0.2])})
        {'weight': tensor([0., 1., 1.])}
    """

    threshold: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isfinite(self.threshold):
            raise ConfigError(f"a threshold must be a finite number, got {self.threshold}")

    def masks(self, scores: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return self.masked({}, scores)

    def masked(self, weights: Mapping[str, Tensor], scores: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return straight_through(_each([partial(_at_least, self.threshold)] * len(scores)), False, weights, scores)

    def densities(self, shapes: Shapes) -> None:
        del shapes  # densities are learned


@dataclass(frozen=True)
class TopK(MaskRule):
    """Keep the weights with the largest `|score|` in each layer (edge-popup; SupSup, Appendix E).

    `M_l = h(|S_l|)`, where `h` is 1 for the `round(density_l * n_l)` largest entries. Backward, `h` is the identity,
    so `dM/dS = sign(S)` with `sign(0) = 1`. Ties never change how many weights are kept.

    Attributes:
        budget: the density of each layer; a number is the same density for all.

    Example:
        >>> TopK(0.5).masks({"weight": torch.tensor([0.1, -0.3, 0.2, 0.0])})
        {'weight': tensor([0., 1., 1., 0.])}
    """

    budget: Budget | float

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.budget, Budget):
            Uniform(self.budget)  # rejects an invalid density

    def masks(self, scores: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return self.masked({}, scores)

    def masked(self, weights: Mapping[str, Tensor], scores: Mapping[str, Tensor]) -> dict[str, Tensor]:
        kept = self.kept({name: tuple(score.shape) for name, score in scores.items()})
        return straight_through(_each([partial(_largest, kept[name]) for name in scores]), True, weights, scores)

    def kept(self, shapes: Shapes) -> dict[str, int]:
        """Return how many weights each layer keeps, `round(density_l * n_l)`."""
        return {name: round(density * prod(shapes[name])) for name, density in self.densities(shapes).items()}

    def densities(self, shapes: Shapes) -> dict[str, float]:
        budget = self.budget if isinstance(self.budget, Budget) else Uniform(self.budget)
        return budget.densities(shapes)


_Entries = Callable[[Tensor, int], Tensor]
"""Makes a mask of scores; the number counts leading dimensions that index different masks."""

Masks = Callable[[Sequence[Tensor], int], Sequence[Tensor]]
"""Makes the masks of all parameters of their scores; the number is as in `_Entries`."""


def _each(entries: Sequence[_Entries]) -> Masks:
    """Return the function that makes the mask of each parameter of its own scores."""

    def masks(scores: Sequence[Tensor], stacked: int) -> list[Tensor]:
        return [of(score, stacked) for of, score in zip(entries, scores, strict=True)]

    return masks


def straight_through(
    masks: Masks, signed: bool, weights: Mapping[str, Tensor], scores: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Return the masks, times the weights if given, with the gradient of the identity.

    Args:
        masks: makes masks of scores: new tensors, 0. and 1. in the shape and dtype of the scores.
        signed: whether the rule compares `|score|`; then the gradient is that of `|score|`.
        weights: of each parameter, or none.
        scores: one score a weight, for each parameter.
    """
    constants = [weights[name] for name in scores] if weights else []
    values = _StraightThrough.apply(masks, len(scores), signed, 0, *scores.values(), *constants)
    return dict(zip(scores, values, strict=True))


class _StraightThrough(torch.autograd.Function):
    """All parameters in one call: a call into autograd costs as much as the mask of a small layer.

    `torch.vmap`, which trains many tasks together, uses the rule below; a generated rule would loop over tasks.
    """

    @staticmethod
    def forward(of: Masks, count: int, signed: bool, stacked: int, *tensors: Tensor) -> tuple[Tensor, ...]:
        del signed
        masks = of([score.detach() for score in tensors[:count]], stacked)
        if len(tensors) == count:
            return tuple(masks)
        # In place: the mask is still in the cache, and no other large tensor is allocated.
        return tuple(
            mask.to(torch.promote_types(mask.dtype, weight.dtype)).mul_(weight)
            for mask, weight in zip(masks, tensors[count:], strict=True)
        )

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        _, ctx.count, ctx.signed, _, *tensors = inputs
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*(tensors if ctx.signed else tensors[ctx.count :]))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors  # once: under activation checkpointing, a second look is an error
        scores, weights = (saved[: ctx.count], saved[ctx.count :]) if ctx.signed else ((), saved)
        if weights:
            gradients = tuple(g if g is None else g * w for g, w in zip(gradients, weights, strict=True))
        if ctx.signed:
            # Not torch.sign, which is 0 at 0: a score of 0 must be able to move.
            gradients = tuple(
                g if g is None else torch.where(s < 0, -g, g) for g, s in zip(gradients, scores, strict=True)
            )
        return None, None, None, None, *gradients, *(None for _ in weights)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *inputs: Any) -> tuple[Any, ...]:
        of, count, signed, stacked, *tensors = inputs
        rows = [
            tensor
            if index >= count and dim is None  # one weight for all masks
            else tensor.expand(info.batch_size, *tensor.shape)
            if dim is None
            else tensor.movedim(dim, 0)
            for index, (tensor, dim) in enumerate(zip(tensors, in_dims[4:], strict=True))
        ]
        return _StraightThrough.apply(of, count, signed, stacked + 1, *rows), (0,) * count


# Torch asks for the signature at each call; inspecting it takes as long as a small layer.
setattr(_StraightThrough.forward, "__signature__", signature(_StraightThrough.forward))  # noqa: B010


def _at_least(threshold: float, scores: Tensor, stacked: int) -> Tensor:
    """Return the mask of the scores at or above a threshold."""
    del stacked  # entries do not depend on each other
    # The comparison writes floats: 8x faster than bool and a cast.
    return torch.ge(scores, threshold, out=torch.empty_like(scores))


def _largest(kept: int, scores: Tensor, stacked: int) -> Tensor:
    """Return the mask of the `kept` largest magnitudes; the first `stacked` dimensions index masks."""
    magnitudes = scores.abs().flatten(stacked)
    # Unsorted: sorting would cost five times the selection.
    selected = magnitudes.topk(kept, sorted=False).indices
    if stacked:  # positions in the concatenation of all masks
        starts = torch.arange(0, magnitudes.numel(), magnitudes.shape[-1], device=scores.device)
        selected = (selected.flatten(0, -2) + starts.unsqueeze(1)).flatten()
    mask = torch.zeros(scores.shape, dtype=scores.dtype, device=scores.device)
    mask.view(-1).index_fill_(0, selected, 1.0)  # twice as fast as scatter_
    return mask
