"""How a training went."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Ended = Literal["all steps", "patience", "callback"]


@dataclass(frozen=True)
class Fit:
    """How a training went.

    Attributes:
        loss: mean loss, in nats, of the last steps (50 at most).
        seconds: wall-clock time, with that before an interruption.
        steps: optimiser steps made.
        validation: accuracies on the validation examples at the end of each epoch and of the training, fractions;
            empty unless the best was to be selected.
        rounding: the largest change of a logit, over a batch of training examples, by the rounding of statistics.
        unreached: the names of the parameters that no gradient reaches, so that the task keeps them whole.
        ended: why the training ended: after all steps, because the accuracy did not get better ("patience"), or
            because a callback said so ("callback").
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
        """Return how trainings went that were made one after the other; the loss is that of the last."""
        return cls(
            stages[-1].loss,
            sum(stage.seconds for stage in stages),
            sum(stage.steps for stage in stages),
            tuple(accuracy for stage in stages for accuracy in stage.validation),
            ended=stages[-1].ended,
        )
