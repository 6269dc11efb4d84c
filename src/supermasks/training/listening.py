"""Who follows a training: a bar, callbacks, and the file that it is resumed from."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from supermasks.training.steps import Callback, Step

Progress = Callable[[int, int], None]
"""Called after each step with the number of steps done and of all steps."""

CHECKPOINT_SECONDS = 60.0


@dataclass(frozen=True)
class Listeners:
    """Who is told of each step, on the first process.

    Attributes:
        progress: called with the number of steps done and of all steps.
        callbacks: called with each step; one of them may end the training.
    """

    progress: Progress | None = None
    callbacks: Sequence[Callback] = ()

    def of_stage(self, steps: Sequence[int], stage: int, epochs: int) -> "Listeners":
        """Return listeners for a stage of a training, who count steps over all stages.

        Args:
            steps: of each stage.
            stage: from 0.
            epochs: how often all examples were seen before this stage, rounded down.
        """
        progress = self.progress
        return Listeners(
            None if progress is None else partial(_tell, progress, sum(steps[:stage]), sum(steps)),
            [partial(_pass_on, callback, steps, stage, epochs) for callback in self.callbacks],
        )


@dataclass(frozen=True)
class Checkpoint:
    """The file that a training is saved in, and resumed from if it is there.

    Attributes:
        file: its path.
        seconds: how often it is written.
        keep: leave the end of the training in the file, for the next call to return from at once; otherwise the file is
            removed at the end.
        about: extra fields that must match before the checkpoint is resumed; can be written as JSON.
    """

    file: Path
    seconds: float = CHECKPOINT_SECONDS
    keep: bool = False
    about: Mapping[str, Any] = field(default_factory=dict[str, Any])


def _tell(progress: Progress, before: int, total: int, done: int, of_stage: int) -> None:
    del of_stage
    progress(before + done, total)


def _pass_on(callback: Callback, steps: Sequence[int], stage: int, epochs: int, step: Step) -> Literal["stop"] | None:
    """Call a callback with a step of a stage, counted over all stages."""
    made = sum(steps[:stage]) + step.step
    return callback(replace(step, step=made, steps=sum(steps), epoch=epochs + step.epoch))
