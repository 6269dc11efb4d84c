"""The loss of recent steps, read now and then, since reading waits for the device."""

from collections.abc import Sequence
from math import isfinite
from typing import Any

import torch
from torch import Tensor

from supermasks.errors import TrainingError

CHECK_EVERY = 50


class RecentLosses:
    """The mean losses of one or more tasks over the last steps, at most 50.

    Args:
        tasks: their names.
        device: of the losses.

    Attributes:
        means: the mean loss of each task when last read, in nats.
    """

    def __init__(self, tasks: Sequence[str], device: torch.device) -> None:
        self.means = [0.0] * len(tasks)
        self._tasks = tasks
        self._sums = torch.zeros(len(tasks), dtype=torch.float32, device=device)
        self._steps = 0

    def add(self, losses: Tensor, step: int, last: bool) -> None:
        """Add the loss of each task at a step; read the means every 50 steps and at the last.

        Raises:
            TrainingError: a loss is not finite.
        """
        self._sums += losses
        self._steps += 1
        if self._steps >= CHECK_EVERY or last:
            self.look(step)

    def look(self, step: int) -> None:
        """Read the mean losses since the last reading, if any.

        Raises:
            TrainingError: a loss is not finite.
        """
        if not self._steps:
            return
        self.means = [total / self._steps for total in self._sums.tolist()]
        for task, mean in zip(self._tasks, self.means, strict=True):
            if not isfinite(mean):
                raise TrainingError(
                    f"the loss is {mean} at step {step} of task {task!r}; lower the learning rate, or check the inputs"
                )
        self._sums.zero_()
        self._steps = 0

    def state(self) -> dict[str, Any]:
        """Return the losses so far, for `restore`."""
        return {"means": self.means, "sums": self._sums, "steps": self._steps}

    def restore(self, state: dict[str, Any]) -> None:
        """Resume from a `state()`."""
        self.means, self._steps = state["means"], state["steps"]
        self._sums.copy_(state["sums"])
