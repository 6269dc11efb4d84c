"""Individually trained networks: the upper bound in accuracy and in bytes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from supermasks.changes import Replaced
from supermasks.errors import TrainingError
from supermasks.methods.method import Method
from supermasks.methods.session import Learned, Lesson, Session, initial_head


@dataclass(frozen=True)
class Individual(Method):
    """Train all maskable weights anew for each task, and keep them all (SupSup, Section 4.1, "Upper Bound").

    Over a pretrained base this is fine-tuning. Each task starts from the base or, if warm, from the task learned
    before, so that the weights for task `i` were trained on tasks `1..i`.

    Attributes:
        warm: start from the weights and the normalisation statistics of the task before, as the paper's upper bound
            does.
        precision: of the stored weights. "float16" takes half of the bytes. Answers use the rounded weights; the head
            is not rounded.
    """

    warm: bool = False
    precision: Literal["float32", "float16"] = "float32"

    @property
    def builds_on_past(self) -> bool:
        return self.warm

    def begin(self, lesson: Lesson) -> Session:
        network, states = lesson.network, lesson.past.states
        # The effective weights, so that this works after a task with a mask, too.
        start = network.effective(states[-1]) if self.warm and states else network.weights
        weights = {name: start[name] for name in network.weights}
        session = WeightsSession(lesson, {**weights, **initial_head(lesson)}, self.precision == "float16")
        session.buffers.update({name: start[name].clone() for name in session.buffers if name in start})
        return session


class WeightsSession(Session):
    """Trains all weights of a task, and its head.

    Args:
        lesson: the task, and what it is learned over.
        parameters: initial values of the weights and of the head.
        rounded: whether the weights are stored as float16.
    """

    stacks = True

    def __init__(self, lesson: Lesson, parameters: Mapping[str, Tensor], rounded: bool = False) -> None:
        super().__init__(lesson, parameters)
        self._rounded = lesson.network.weights.keys() if rounded else ()

    def effective(self) -> dict[str, Tensor]:
        return {**self.parameters, **self.buffers}

    def finish(self) -> Learned:
        return Learned({name: Replaced(self._stored(name, value)) for name, value in self.parameters.items()})

    def _stored(self, name: str, value: Tensor) -> Tensor:
        if name not in self._rounded:
            return value
        half = value.detach().half()
        if not bool(half.isfinite().all()):
            raise TrainingError(
                f"the trained weight {name!r} does not fit into float16; lower the learning rate, or use "
                "precision='float32'"
            )
        return half
