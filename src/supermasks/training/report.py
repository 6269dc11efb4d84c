"""How a training went."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Ended = Literal["all steps", "patience", "callback"]


@dataclass(frozen=True)
class Fit:
    """How a training went.

    Attributes:
        loss: mean loss, in nats, of the last 50 steps at most.
        seconds: wall-clock time, including the time before an interruption.
        steps: number of optimiser steps.
        validation: accuracies on the validation examples, as fractions, at the end of each epoch and of the training;
            empty unless the best epoch is selected.
        rounding: the largest change of a logit, over a batch of training examples, by rounding statistics.
        unreached: the names of parameters that no gradient reaches; the task keeps them whole.
        ended: why the training ended: after "all steps", because the accuracy stopped improving ("patience"), or by a
            "callback".
    """

    loss: float
    seconds: float
    steps: int
    validation: tuple[float, ...] = ()
    rounding: float = 0.0
    unreached: tuple[str, ...] = ()
    ended: Ended = "all steps"

    @classmethod
    def joined(cls, stages: Sequence["Fit"]) -> "Fit":
        """Return one report of several trainings in a row; the loss is that of the last training."""
        return cls(
            stages[-1].loss,
            sum(stage.seconds for stage in stages),
            sum(stage.steps for stage in stages),
            tuple(accuracy for stage in stages for accuracy in stage.validation),
            ended=stages[-1].ended,
        )
