"""Budgets that change during the training."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf

from torch import Tensor

from supermasks.errors import ConfigError
from supermasks.masks.drop import Drop
from supermasks.masks.rules import MaskRule
from supermasks.types import Shapes


@dataclass(frozen=True)
class Annealed(MaskRule):
    """Drop another number of weights at the start of the training, and the number of the rule at the end.

    At progress `t`, from 0 to 1, the number is that of the rule, times

        1 + (start - 1) (1 - t / until)^3       for t < until, and 1 from then on

    which is the schedule of Zhu & Gupta (2017). The mask of the task is always made by the rule itself. So are the
    masks that `select_best` compares. A learner of streams does not know how long a training takes. It uses the rule
    itself from the start.

    Attributes:
        rule: the final budget.
        start: the number of weights that are dropped at first, divided by the final number: 0 begins with the whole
            network, 5 with five times as many.
        until: the part of the training after which the budget is the final one.

    Raises:
        ConfigError: `start` is negative or not finite, or `until` is not above 0 and at most 1.
        DensityError: at the start, the whole network would be dropped.

    Example:
        >>> rule = Annealed(Drop(1000), start=3.0)
        >>> [rule.at(progress).count for progress in (0.0, 0.25, 0.5, 1.0)]
        [3000, 1250, 1000, 1000]
    """

    rule: Drop
    start: float = 0.0
    until: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.start < inf:
            raise ConfigError(f"start must be a number of at least 0, got {self.start}")
        if not 0 < self.until <= 1:
            raise ConfigError(f"until must be above 0 and at most 1, got {self.until}")
        self.rule.times(self.start)  # rejects too large a share

    def at(self, progress: float) -> Drop:
        left = max(1 - progress / self.until, 0.0)
        return self.rule.times(1 + (self.start - 1) * left**3)

    def masks(self, scores: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return self.rule.masks(scores)

    def masked(self, weights: Mapping[str, Tensor], scores: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return self.rule.masked(weights, scores)

    def densities(self, shapes: Shapes) -> dict[str, float] | None:
        self.at(0.0).dropped(shapes)
        return self.rule.densities(shapes)
