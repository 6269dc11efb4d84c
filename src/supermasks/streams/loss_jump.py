"""A rule by labels: a new task shows as a jump of the loss, before anything is learned from its first batch."""

from dataclasses import dataclass
from math import sqrt

from supermasks.errors import ConfigError
from supermasks.streams.loss_trend import LONGEST, LossTrend
from supermasks.streams.novelty_rule import Judged, NoveltyRule, Scene


@dataclass(frozen=True)
class LossJump(NoveltyRule):
    """Look at other tasks if the loss of the current task jumps; open a mask if the loss is high for all of them.

    The surprise of a loss `l` for a task whose losses so far stand at `m` and vary by `s` (`LossTrend`) is

        z(l) = (l - m) / max(s, least)

    While `z <= threshold` for the current task, the current task goes on. The loss is computed for training anyway, so
    this look is free. Otherwise the batch belongs to the task of least surprise, if that is at most the threshold. If
    not, the task is new.

    With `window=1` each batch is judged before it is learned. With a larger window, the mean loss of so many batches is
    judged at once, and surprise grows by `sqrt(window)`: this sees smaller jumps, but later, and misses a task that the
    current mask learns within a few batches. While a closed task answers, nothing is learned, and each batch is judged
    by itself.

    Attributes:
        threshold: in standard deviations.
        least: the least standard deviation, in nats; it must exceed the noise of the loss from batch to batch.
        settle: the number of batches of a task before its losses count. Until then the rule only looks at the
            task before: if that fits, it has returned, as after a single odd batch. With a window it waits. A task
            that was closed before counts by the losses that it has.
        window: how many batches are judged together, 1 to 50.
        candidates: how many tasks are compared after a jump, those of steepest descent.

    Raises:
        ConfigError: a number is out of its range.
    """

    threshold: float = 6.0
    least: float = 0.1
    settle: int = 20
    window: int = 1
    candidates: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.threshold <= 0 or self.least <= 0 or self.settle < 2 or self.candidates < 1:
            raise ConfigError(
                "threshold and least must be positive, settle at least 2, and candidates at least 1, got "
                f"threshold={self.threshold}, least={self.least}, settle={self.settle}, candidates={self.candidates}"
            )
        if not 1 <= self.window <= LONGEST:
            raise ConfigError(f"window must be 1 to {LONGEST} batches, got {self.window}")

    def judge(self, scene: Scene) -> Judged | None:
        trend, is_open = scene.trend(scene.current), scene.is_open(scene.current)
        window = self.window if is_open else 1  # the trend of a closed task stays, so it has no losses of a window
        if is_open and (trend.count < self.settle + window - 1 or len(trend.last) < window):
            return self._young(scene)
        if scene.batch % window:
            return None
        jump = self._of_window(trend, scene.loss(), window)
        if jump <= self.threshold:
            return None
        losses = scene.losses(list(dict.fromkeys([*scene.nearest(self.candidates), scene.current])))
        surprises = {name: scene.trend(name).surprise(loss, self.least) for name, loss in losses.items()}
        if window > 1:  # by now the current mask may be trained on batches of the next task
            surprises[scene.current] = jump
        nearest = min(surprises, key=lambda name: surprises[name])
        scores = {name: -surprise for name, surprise in surprises.items()}
        return Judged(surprises[nearest] > self.threshold, nearest, scores, doubtful=window - 1)

    def _young(self, scene: Scene) -> Judged | None:
        """Return to the task before a young one, if that fits."""
        before = scene.previous
        if before is None or self.window > 1:  # with a window, the task before was trained on some batches of this one
            return None
        surprise = scene.trend(before).surprise(scene.losses([before])[before], self.least)
        return Judged(False, before, {before: -surprise}) if surprise <= self.threshold else None

    def _of_window(self, trend: LossTrend, loss: float, window: int) -> float:
        """Return the surprise of the last losses of a task, the newest of which is not in its trend yet."""
        earlier = window - 1
        mean = (sum(trend.last[len(trend.last) - earlier :]) + loss) / window
        return sqrt(window) * trend.without(earlier).surprise(mean, self.least)
