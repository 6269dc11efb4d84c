"""Experience replay: each batch is joined by examples of earlier tasks."""

from dataclasses import dataclass

import torch
from torch import Tensor

from supermasks.methods.examples import ExampleMemory
from supermasks.methods.replay import ReplaySession
from supermasks.methods.sequential import Sequential
from supermasks.methods.session import Criterion, Lesson, Logits, Session


@dataclass(frozen=True)
class ExperienceReplay(Sequential):
    """Sequential training that replays stored examples (ER; Riemer et al. 2019, Chaudhry et al. 2019).

    The memory is a random sample of all training examples so far (reservoir sampling); each pass over an example
    counts. Each batch of `b` examples is joined by `b` examples of the memory, or all if it has fewer. The loss is the
    mean cross-entropy over both.

    If tasks have heads, an example is replayed through the head of its own task. Heads of earlier tasks are frozen; in
    the papers they are trained further. Class weights and label smoothing apply to the new examples only.

    Attributes:
        memory: the largest number of stored examples, of all tasks together. They are part of the bank and its bytes.

    Raises:
        ConfigError: the memory has no place for an example.
    """

    memory: int = 200

    def __post_init__(self) -> None:
        super().__post_init__()
        ExampleMemory(self.memory)  # rejects an invalid size

    def begin(self, lesson: Lesson) -> Session:
        return _Replayed(lesson, self.memory)


class _Replayed(ReplaySession):
    """Trains on new and remembered examples in one forward pass."""

    def loss(self, logits: Logits, inputs: Tensor, targets: Tensor, criterion: Criterion) -> Tensor:
        self.note(inputs, targets)
        drawn = self.examples.draw(len(inputs), self.random)
        if drawn is None:
            return super().loss(logits, inputs, targets, criterion)
        outputs = self.answer(logits, torch.cat([inputs, drawn.inputs.to(inputs.device)]))
        new = criterion(self.heads.of_task(outputs[: len(inputs)], self.heads.number), targets)
        old = self.replayed(outputs[len(inputs) :], drawn)
        return (len(inputs) * new + len(drawn) * old) / (len(inputs) + len(drawn))
