"""How the loss of a task goes: where it stands, and how much it varies from batch to batch."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import sqrt
from statistics import median

RECENT = 10
"""How many of the last losses say where the loss stands."""

COMPARED = 20
"""How many of the last differences say how much it varies."""

LONGEST = 50
"""The most losses that are judged together."""

KEPT = LONGEST + COMPARED
"""How many of the last losses are kept: the longest window lacks one that is not learned yet, and is judged by 21."""

TO_DEVIATION = 1.4826 / sqrt(2)
"""From the median absolute difference of two independent normal numbers to their standard deviation."""


@dataclass(frozen=True)
class LossTrend:
    """The losses of a task, one for each batch that it was trained on.

    Both numbers are medians: losses fall fast at first, and single batches are odd.

    Attributes:
        count: the number of losses.
        last: the last 70 losses at most, in nats, the newest at the end.

    Example:
        >>> trend = LossTrend()
        >>> for loss in (2.0, 1.0, 2.0, 1.0, 2.0):
        ...     trend = trend.plus(loss)
        >>> trend.level, round(trend.noise, 3)
        (2.0, 1.048)
    """

    count: int = 0
    last: tuple[float, ...] = ()

    def plus(self, loss: float) -> "LossTrend":
        """Return the trend with one more loss."""
        return replace(self, count=self.count + 1, last=(*self.last[1 - KEPT :], loss))

    def without(self, count: int) -> "LossTrend":
        """Return the trend before its last `count` losses, as far as they are kept."""
        return self if count == 0 else LossTrend(self.count - count, self.last[:-count])

    @property
    def level(self) -> float:
        """Where the loss stands: the median of the last 10; 0 without any."""
        return median(self.last[-RECENT:]) if self.last else 0.0

    @property
    def noise(self) -> float:
        """The standard deviation from batch to batch, by the median absolute difference of the last 20 neighbours."""
        return TO_DEVIATION * _median_difference(self.last[-COMPARED - 1 :])

    def surprise(self, loss: float, least: float) -> float:
        """Return by how many standard deviations a loss lies above the level.

        Args:
            loss: of a batch.
            least: the least standard deviation, in nats.
        """
        return (loss - self.level) / max(self.noise, least)


def _median_difference(losses: Sequence[float]) -> float:
    return median(abs(later - earlier) for earlier, later in pairwise(losses)) if len(losses) > 1 else 0.0
