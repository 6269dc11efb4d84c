"""Sequential training, which forgets: the lower bound."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from supermasks.changes import Replaced, Unchanged
from supermasks.methods.method import Method
from supermasks.methods.session import Learned, Lesson, Session, initial_head


@dataclass(frozen=True)
class Sequential(Method):
    """Train the shared weights on each task in turn, without protecting earlier tasks (SupSup, Section 4.1).

    This is the papers' lower bound. All tasks answer over the latest weights and normalisation statistics, which a bank
    stores once. If there is a head, each task has its own.
    """

    @property
    def writes(self) -> bool:
        return True

    @property
    def forgets(self) -> bool:
        return True

    def begin(self, lesson: Lesson) -> Session:
        return SharedWeights(lesson)


class SharedWeights(Session):
    """Trains the shared weights, and the head of the task."""

    keeps_unreached: ClassVar[bool] = False  # later batches, or stored examples, may reach them

    def __init__(self, lesson: Lesson) -> None:
        super().__init__(lesson, {**lesson.network.weights, **initial_head(lesson)})
        self.weights = tuple(lesson.network.weights)
        states = lesson.past.states
        # In banks of older versions the statistics belong to the tasks, not to the shared weights.
        older = states[-1].buffers if len(states) and not lesson.network.weights.buffers else {}
        with torch.no_grad():
            for name, value in older.items():
                self.buffers[name].copy_(value)

    def effective(self) -> dict[str, Tensor]:
        return {**self.parameters, **self.buffers}

    def finish(self) -> Learned:
        weights = {name: self.parameters[name].detach() for name in self.network.weights}
        head = {name: Replaced(value) for name, value in self.parameters.items() if name not in weights}
        unchanged = {name: Unchanged(shape) for name, shape in self.network.shapes.items()}
        return Learned({**unchanged, **head}, weights=weights)
