"""How the loss of a task goes: a running mean and a running variance, and the last few losses."""

from dataclasses import dataclass, replace
from math import sqrt

DECAY = 0.9
"""The weight of the past in the running mean and variance, once there are 10 losses."""

KEPT = 50
"""How many of the last losses are kept."""


@dataclass(frozen=True)
class LossTrend:
    """The losses of a task, one for each batch that it was trained on.

    With the weight `w = max(1 / n, 0.1)` of the `n`-th loss `l`, mean and variance follow

        d = l - mean;  mean += w d;  variance = (1 - w) (variance + w d^2)

    Attributes:
        count: the number of losses, `n`.
        mean: in nats.
        variance: in nats squared.
        last: the last 50 losses at most, the newest at the end.

    Example:
        >>> trend = LossTrend().plus(1.0).plus(3.0)
        >>> trend.count, trend.mean, trend.variance
        (2, 2.0, 1.0)
        >>> trend.surprise(5.0, least=0.1)
        3.0
    """

    count: int = 0
    mean: float = 0.0
    variance: float = 0.0
    last: tuple[float, ...] = ()

    def plus(self, loss: float) -> "LossTrend":
        """Return the trend with one more loss."""
        weight, difference = max(1 / (self.count + 1), 1 - DECAY), loss - self.mean
        return replace(
            self,
            count=self.count + 1,
            mean=self.mean + weight * difference,
            variance=(1 - weight) * (self.variance + weight * difference**2),
            last=(*self.last[1 - KEPT :], loss),
        )

    def surprise(self, loss: float, least: float) -> float:
        """Return by how many standard deviations a loss lies above the mean.

        Args:
            loss: of a batch.
            least: the least standard deviation, in nats.
        """
        return (loss - self.mean) / max(sqrt(self.variance), least)
