"""The loss of the last steps, looked at now and then: each look waits for the device."""

from collections.abc import Sequence
from math import isfinite
from typing import Any

import torch
from torch import Tensor

from supermasks.errors import TrainingError

CHECK_EVERY = 50


class RecentLosses:
    """The mean losses of one or more tasks since the last look, 50 steps at most.

    Args:
        tasks: their names.
        device: where the losses are.

    Attributes:
        means: of each task at the last look, in nats.
    """

    def __init__(self, tasks: Sequence[str], device: torch.device) -> None:
        self.means = [0.0] * len(tasks)
        self._tasks = tasks
        self._sums = torch.zeros(len(tasks), dtype=torch.float32, device=device)
        self._steps = 0

    def add(self, losses: Tensor, step: int, last: bool) -> None:
        """Add the loss of each task at a step, and look at them if it is time, or the last step.

        Raises:
            TrainingError: a loss is not finite.
        """
        self._sums += losses
        self._steps += 1
        if self._steps >= CHECK_EVERY or last:
            self.look(step)

    def look(self, step: int) -> None:
        """Look at the losses since the last look, if there are any.

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
        """Return what `restore` takes."""
        return {"means": self.means, "sums": self._sums, "steps": self._steps}

    def restore(self, state: dict[str, Any]) -> None:
        """Go to where `state()` was taken."""
        self.means, self._steps = state["means"], state["steps"]
        self._sums.copy_(state["sums"])
