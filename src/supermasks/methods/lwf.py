"""Learning without forgetting: the new network is held to the answers of the network before, on the new inputs."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf

import torch
from torch import Tensor

from supermasks.errors import ConfigError
from supermasks.methods.heads import Heads
from supermasks.methods.sequential import Sequential, SharedWeights
from supermasks.methods.session import Criterion, Lesson, Logits, Session


@dataclass(frozen=True)
class LwF(Sequential):
    """Sequential training that keeps the answers of earlier tasks on the new inputs (LwF; Li and Hoiem 2017).

    For each earlier task, `p` are the probabilities that the network gave before this task, and `q` those that it gives
    now, both from logits divided by the temperature. The loss of a batch is (Equation 3)

        cross-entropy + strength * sum_tasks mean(-sum_c p_c log q_c)

    It stores no example. Heads of earlier tasks are frozen; the paper trains them further. Without a head, all tasks
    share the outputs, and the sum has one term.

    Attributes:
        strength: of the earlier answers, `lambda_o` in the paper.
        temperature: larger values give more weight to small probabilities.

    Raises:
        ConfigError: the strength is negative, or the temperature is not positive.
    """

    strength: float = 1.0
    temperature: float = 2.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (0 <= self.strength < inf and 0 < self.temperature < inf):
            raise ConfigError(
                f"LwF takes a strength from 0 up and a temperature above 0, got {self.strength} and {self.temperature}"
            )

    def begin(self, lesson: Lesson) -> Session:
        return _Distilled(self, lesson)


class _Distilled(SharedWeights):
    """Trains the shared weights, and keeps their answers for earlier tasks."""

    def __init__(self, method: LwF, lesson: Lesson) -> None:
        super().__init__(lesson)
        self._method, self._heads = method, Heads(lesson)
        self._before: Mapping[str, Tensor] = {name: value.clone() for name, value in self.buffers.items()}

    def loss(self, logits: Logits, inputs: Tensor, targets: Tensor, criterion: Criterion) -> Tensor:
        heads = self._heads
        if not heads.number:
            return super().loss(logits, inputs, targets, criterion)
        joined = heads.joined({name: self.parameters[name] for name in self.network.head_shapes(1)})
        outputs = logits(inputs) if joined is None else logits(inputs, joined)
        with torch.no_grad():
            before = self.network.forward(inputs, {**self.network.weights, **self._before, **(joined or {})})
        loss = criterion(heads.of_task(outputs, heads.number), targets)
        for number in range(heads.number if joined is not None else 1):
            kept = self._kept(heads.of_task(before, number), heads.of_task(outputs, number))
            loss = loss + self._method.strength * kept
        return loss

    def _kept(self, before: Tensor, now: Tensor) -> Tensor:
        """Return the mean cross-entropy between the answers before and now."""
        p = (before / self._method.temperature).softmax(dim=1)
        return -(p * (now / self._method.temperature).log_softmax(dim=1)).sum(dim=1).mean()
