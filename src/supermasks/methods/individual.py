"""Individually trained networks: the upper bound in accuracy and in bytes."""

from dataclasses import dataclass

from torch import Tensor

from supermasks.changes import Replaced
from supermasks.methods.method import Method
from supermasks.methods.session import Learned, Lesson, Session, initial_head


@dataclass(frozen=True)
class Individual(Method):
    """Train all maskable weights anew for each task, and keep them all (SupSup, Section 4.1, "Upper Bound").

    Over a pretrained base this is fine-tuning. Each task starts from the base or, if warm, from the task learned
    before, so that the weights for task `i` were trained on tasks `1..i`.

    Attributes:
        warm: start from the weights of the task before, as the paper's upper bound does.
    """

    warm: bool = False

    @property
    def builds_on_past(self) -> bool:
        return self.warm

    def begin(self, lesson: Lesson) -> Session:
        network, states = lesson.network, lesson.past.states
        # The effective weights, so that this works after a task with a mask, too.
        start = network.effective(states[-1]) if self.warm and states else network.weights
        weights = {name: start[name] for name in network.weights}
        return WeightsSession(lesson, {**weights, **initial_head(lesson)})


class WeightsSession(Session):
    """Trains all weights of a task, and its head."""

    stacks = True

    def effective(self) -> dict[str, Tensor]:
        return {**self.parameters, **self.buffers}

    def finish(self) -> Learned:
        return Learned({name: Replaced(value) for name, value in self.parameters.items()})
