"""Follow a training: progress, callbacks, and the file that it is resumed from."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from supermasks.training.steps import Callback, Step

Progress = Callable[[int, int], None]
"""Called after each step with the number of steps done and the total."""

CHECKPOINT_SECONDS = 60.0


@dataclass(frozen=True)
class Listeners:
    """Called after each step, on the first process.

    Attributes:
        progress: called with the number of steps done and the total.
        callbacks: called with each step; one of them may end the training.
    """

    progress: Progress | None = None
    callbacks: Sequence[Callback] = ()

    def of_stage(self, steps: Sequence[int], stage: int) -> "Listeners":
        """Return listeners for one stage of a training; they count steps over all stages.

        Args:
            steps: of each stage.
            stage: from 0.
        """
        progress = self.progress
        return Listeners(
            None if progress is None else partial(_tell, progress, sum(steps[:stage]), sum(steps)),
            [partial(_pass_on, callback, steps, stage) for callback in self.callbacks],
        )


@dataclass(frozen=True)
class Checkpoint:
    """The file that a training is saved in, and resumed from if it exists.

    Attributes:
        file: its path.
        seconds: the time between two savings.
        keep: keep the file at the end, so that the next call returns the result at once; otherwise it is removed.
        about: extra fields that must match before a checkpoint is resumed, as JSON data.
    """

    file: Path
    seconds: float = CHECKPOINT_SECONDS
    keep: bool = False
    about: Mapping[str, Any] = field(default_factory=dict[str, Any])


def _tell(progress: Progress, before: int, total: int, done: int, of_stage: int) -> None:
    del of_stage
    progress(before + done, total)


def _pass_on(callback: Callback, steps: Sequence[int], stage: int, step: Step) -> Literal["stop"] | None:
    """Calls a callback with the steps of a stage, counted over all stages."""
    made = sum(steps[:stage]) + step.step
    return callback(replace(step, step=made, steps=sum(steps)))
