"""Experience replay that also holds the features of the network to what they were before the task."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf

import torch
from torch import Tensor

from supermasks.errors import ConfigError
from supermasks.methods.experience_replay import ExperienceReplay
from supermasks.methods.last_layer import LastLayer
from supermasks.methods.replay import ReplaySession
from supermasks.methods.session import Criterion, Lesson, Logits, Session


@dataclass(frozen=True)
class RegularisedReplay(ExperienceReplay):
    """Experience replay with a penalty on features that move ("Regularization" of Huang et al. 2021; ExSSNeT, Table 1).

    Features `phi(x)` are what enters the last layer. `phi_0(x)` are the features that the network had before this task.
    The loss of a batch is that of `ExperienceReplay` and

        strength * mean (phi(x) - phi_0(x))^2

    over the new and the stored examples `x` of the batch, and over all features. The first task has no penalty.

    Attributes:
        memory: the largest number of stored examples, of all tasks together. They are part of the bank and its bytes.
        strength: of the penalty.

    Raises:
        ConfigError: the strength is negative, or the memory has no place for an example.
    """

    strength: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.strength < inf:
            raise ConfigError(f"strength must be a number from 0 up, got {self.strength}")

    def begin(self, lesson: Lesson) -> Session:
        return _Held(lesson, self.memory, self.strength)


class _Held(ReplaySession):
    """Trains on new and remembered examples, and holds the features of both."""

    def __init__(self, lesson: Lesson, capacity: int, strength: float) -> None:
        super().__init__(lesson, capacity)
        self._last, self._strength = LastLayer(lesson), strength
        self._before: Mapping[str, Tensor] = {name: value.clone() for name, value in self.buffers.items()}

    def loss(self, logits: Logits, inputs: Tensor, targets: Tensor, criterion: Criterion) -> Tensor:
        self.note(inputs, targets)
        drawn, count = self.examples.draw(len(inputs), self.random), len(inputs)
        if drawn is not None:
            inputs = torch.cat([inputs, drawn.inputs.to(inputs.device)])
        features = logits(inputs, self._last.open())
        outputs = self._last.logits(features, self.heads.joined(self.head) or self.parameters)
        loss = criterion(self.heads.of_task(outputs[:count], self.heads.number), targets)
        if drawn is not None:
            loss = (count * loss + len(drawn) * self.replayed(outputs[count:], drawn)) / (count + len(drawn))
        return loss + self._strength * self._moved(features, inputs) if self.heads.number else loss

    def _moved(self, features: Tensor, inputs: Tensor) -> Tensor:
        """Return the mean square of what the features have moved since the task began."""
        with torch.no_grad():
            before = self._last.features(inputs, {**self.network.weights, **self._before})
        return (features - before).square().mean()
