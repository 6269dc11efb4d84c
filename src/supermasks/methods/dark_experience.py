"""Dark experience replay: the network is held to its earlier answers for stored examples."""

from dataclasses import dataclass
from math import inf

import torch
from torch import Tensor

from supermasks.errors import ConfigError
from supermasks.methods.examples import ExampleMemory, Remembered
from supermasks.methods.replay import ReplaySession
from supermasks.methods.sequential import Sequential
from supermasks.methods.session import Criterion, Lesson, Logits, Session


@dataclass(frozen=True)
class DER(Sequential):
    """Sequential training that replays examples with their logits (DER; Buzzega et al. 2020, Equation 6).

    Each example is stored with the logits `z` that the network gave when it was trained on it. The loss of a batch is

        cross-entropy + alpha * mean (z - f(x))^2

    over `b` examples `x` of the memory, where `b` is the size of the batch. The mean is over all outputs. The memory is
    a random sample of all training examples so far (reservoir sampling); each pass over an example counts.

    If tasks have heads, `f(x)` are the outputs of the example's own task, and heads of earlier tasks are frozen. In the
    paper all tasks share one head, and it is trained further. Stored inputs are those that the network saw, so they are
    augmented if the training augments.

    Attributes:
        alpha: the weight of the earlier answers.
        memory: the largest number of stored examples, of all tasks together. They are part of the bank and its bytes.

    Raises:
        ConfigError: a weight is negative, or the memory has no place for an example.
    """

    alpha: float = 0.3
    memory: int = 200

    def __post_init__(self) -> None:
        super().__post_init__()
        ExampleMemory(self.memory)  # rejects an invalid size
        if not 0 <= self.alpha < inf:
            raise ConfigError(f"alpha must be a number from 0 up, got {self.alpha}")

    def begin(self, lesson: Lesson) -> Session:
        return _Dark(lesson, self.memory, self.alpha, 0.0)


@dataclass(frozen=True)
class DERpp(DER):
    """DER that also replays the labels (DER++; Buzzega et al. 2020, Equation 7).

    It adds `beta * cross-entropy` of another `b` examples of the memory to the loss of DER.

    Attributes:
        alpha: the weight of the earlier answers.
        memory: as in DER.
        beta: the weight of the labels.
    """

    alpha: float = 0.1
    beta: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.beta < inf:
            raise ConfigError(f"beta must be a number from 0 up, got {self.beta}")

    def begin(self, lesson: Lesson) -> Session:
        return _Dark(lesson, self.memory, self.alpha, self.beta)


class _Dark(ReplaySession):
    """Trains on new examples, and on the earlier answers for remembered ones."""

    def __init__(self, lesson: Lesson, capacity: int, alpha: float, beta: float) -> None:
        super().__init__(lesson, capacity, with_logits=True)
        self._alpha, self._beta = alpha, beta

    def loss(self, logits: Logits, inputs: Tensor, targets: Tensor, criterion: Criterion) -> Tensor:
        outputs = logits(inputs)
        self.note(inputs, targets, outputs)
        loss = criterion(outputs, targets)
        if drawn := self.examples.draw(len(inputs), self.random):
            loss = loss + self._alpha * self._moved(self.answer(logits, drawn.inputs), drawn)
        if self._beta and (drawn := self.examples.draw(len(inputs), self.random)):
            loss = loss + self._beta * self.replayed(self.answer(logits, drawn.inputs), drawn)
        return loss

    def _moved(self, outputs: Tensor, examples: Remembered) -> Tensor:
        """Return the mean square of what the logits have moved since the examples were stored."""
        assert examples.logits is not None  # this session stores them
        values, exists = self.heads.of_each(outputs, examples.tasks)
        before = torch.nn.functional.pad(examples.logits, (0, values.shape[1] - examples.logits.shape[1]))
        squares = (values - before.to(values.device)).square() * exists
        return squares.sum() / exists.sum()
