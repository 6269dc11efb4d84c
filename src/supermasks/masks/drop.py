"""Masks that drop a given number of weights, and keep all others."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

import torch
from torch import Tensor

from supermasks.errors import ConfigError, DensityError
from supermasks.masks.groups import Groups
from supermasks.masks.rules import MaskRule, straight_through
from supermasks.types import Shape, Shapes

_SAMPLED_FROM = 1 << 16  # scores, for which a sample tells which can be among the lowest


@dataclass(frozen=True)
class Drop(MaskRule):
    """Drop the weights with the lowest scores, an exact number of the whole network, and keep all others.

    `M = 0` for the `count` lowest scores of the network, 1 elsewhere. Backward, `dM/dS = 1`. Ties never change how many
    weights are dropped. A mask that drops few weights takes few bytes: with `scores.Spread`, fewer than a list of them.

    With groups `g`, the score of a group is the mean of its scores, and `M = M_g` for all its weights. So `dL/dS` is
    the mean of `dL/dM` over the group.

    Over a pretrained network, let scores begin with `scores.Spread`.

    Attributes:
        count: how many weights to drop, or groups.
        share: the fraction to drop, in place of a count: `round(share * n)` of `n`.
        by_layer: drop `count` or `share` of each layer, not of the whole network.
        of: what is dropped as one: `Neurons()`, `Inputs()` or `Blocks(rows, columns)`; None for single weights.

    Raises:
        ConfigError: both or none of `count` and `share` are given, or `count` is negative.
        DensityError: `share` is not at least 0 and below 1.

    Example:
        >>> scores = {"a": torch.tensor([0.1, -0.3, 0.2]), "b": torch.tensor([-0.5, 0.4])}
        >>> Drop(2).masks(scores)
        {'a': tensor([1., 0., 1.]), 'b': tensor([0., 1.])}
        >>> Drop(1, by_layer=True).masks(scores)
        {'a': tensor([1., 0., 1.]), 'b': tensor([0., 1.])}
        >>> Drop(share=0.01).dropped({"a": (100, 50), "b": (100,)})
        [51]
    """

    count: int | None = None
    share: float | None = None
    by_layer: bool = False
    of: Groups | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.count is None) == (self.share is None):
            raise ConfigError(
                f"Drop needs either a count or a share, got count={self.count} and share={self.share}; "
                "write Drop(1000) or Drop(share=0.01)"
            )
        if self.count is not None and self.count < 0:
            raise ConfigError(f"the count of weights to drop must be at least 0, got {self.count}")
        if self.share is not None and not 0 <= self.share < 1:
            raise DensityError(f"the share of weights to drop must be at least 0 and below 1, got {self.share:g}")

    def times(self, factor: float) -> "Drop":
        """Return the rule that drops `factor` times as many.

        Raises:
            DensityError: that is a share of 1 or more.
        """
        if self.count is not None:
            return replace(self, count=round(factor * self.count))
        return replace(self, share=factor * (self.share or 0.0))

    def masks(self, scores: Mapping[str, Tensor]) -> dict[str, Tensor]:
        if self.of is None:
            return self.masked({}, scores)
        shapes = {name: tuple(score.shape) for name, score in scores.items()}
        of, numbers = self.of, self.dropped(shapes)
        means = {name: of.means(score) for name, score in scores.items()}
        masks = straight_through(_Lowest(tuple(numbers)), False, {}, means)
        return {name: of.spread(mask, shapes[name]) for name, mask in masks.items()}

    def masked(self, weights: Mapping[str, Tensor], scores: Mapping[str, Tensor]) -> dict[str, Tensor]:
        if self.of is not None:
            return super().masked(weights, scores)
        numbers = self.dropped({name: tuple(score.shape) for name, score in scores.items()})
        return straight_through(_Lowest(tuple(numbers)), False, weights, scores)

    def dropped(self, shapes: Shapes) -> list[int]:
        """Return how many weights, or groups, are dropped: one number for each parameter, or one for all.

        Raises:
            DensityError: nothing would be kept.
        """
        sizes = {name: self._size(shape) for name, shape in shapes.items()}
        among = {f"layer {name!r}": size for name, size in sizes.items()}
        return [
            self._number(what, n)
            for what, n in (among if self.by_layer else {"the network": sum(sizes.values())}).items()
        ]

    def densities(self, shapes: Shapes) -> dict[str, float] | None:
        numbers = self.dropped(shapes)
        if not self.by_layer or self.of is not None:
            return None
        return {name: 1 - n / prod(shape) for (name, shape), n in zip(shapes.items(), numbers, strict=True)}

    def _size(self, shape: Shape) -> int:
        return prod(shape) if self.of is None else self.of.count(shape)

    def _number(self, what: str, size: int) -> int:
        number = round((self.share or 0.0) * size) if self.count is None else self.count
        if number >= size:
            unit = "weights" if self.of is None else "groups of weights"
            raise DensityError(
                f"a mask must keep something, but {self} drops {number} {unit} of the {size} in {what}; drop fewer"
            )
        return number


@dataclass(frozen=True)
class _Lowest:
    """Makes masks that drop the lowest scores.

    Attributes:
        numbers: how many to drop of each tensor of scores, or a single number for all of them together.
    """

    numbers: tuple[int, ...]

    def __call__(self, scores: Sequence[Tensor], stacked: int) -> list[Tensor]:
        """Return the mask of each tensor of scores; its first `stacked` dimensions index masks."""
        masks = [torch.ones_like(score, memory_format=torch.contiguous_format) for score in scores]
        flat = [score.reshape(prod(score.shape[:stacked]), -1) for score in scores]
        rows = [mask.view(len(values), -1) for mask, values in zip(masks, flat, strict=True)]
        for row in range(len(flat[0])) if flat else ():
            places = self._places([values[row] for values in flat])
            for mask, dropped in zip(rows, places, strict=True):
                mask[row].index_fill_(0, dropped, 0.0)
        return masks

    def _places(self, scores: Sequence[Tensor]) -> list[Tensor]:
        """Return the places of the lowest scores in each of some vectors."""
        if len(self.numbers) == len(scores):
            return [_lowest(values, number) for values, number in zip(scores, self.numbers, strict=True)]
        (number,) = self.numbers
        places = _lowest(torch.cat(list(scores)), number).sort().values
        ends = torch.tensor([len(values) for values in scores], device=places.device).cumsum(0)
        cuts = torch.searchsorted(places, ends).tolist()
        return [
            places[before:cut] - (end - len(values))
            for before, cut, end, values in zip([0, *cuts], cuts, ends.tolist(), scores, strict=False)
        ]


def _lowest(values: Tensor, number: int) -> Tensor:
    """Return the places of the `number` lowest values."""
    if not number:
        return torch.empty(0, dtype=torch.int64, device=values.device)
    if len(values) >= _SAMPLED_FROM and 8 * number <= len(values):
        # A sample gives a bound; what lies below it is a small part, and sorted much faster than the whole.
        sample = values[:: len(values) // (_SAMPLED_FROM // 8)]
        within = min(len(sample), 16 + 2 * number * len(sample) // len(values))
        candidates = (values <= sample.kthvalue(within).values).nonzero().flatten()
        if len(candidates) >= number:
            return candidates[values[candidates].topk(number, largest=False, sorted=False).indices]
    return values.topk(number, largest=False, sorted=False).indices
