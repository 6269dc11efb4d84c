"""EWC: a penalty holds back shared weights that matter to earlier tasks."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import inf

import torch
from torch import Tensor

from supermasks.errors import ConfigError
from supermasks.methods.sequential import Sequential, SharedWeights
from supermasks.methods.session import Criterion, Learned, Lesson, Logits, Session
from supermasks.seeding import generator

FISHER = "fisher of "
"""The prefix of the names of importance in the memory, before the names of the weights."""


@dataclass(frozen=True)
class EWC(Sequential):
    """Sequential training with a penalty on changes that matter to earlier tasks (online EWC; Schwarz et al. 2018).

    `W'` are the weights that the task before left, and `F` is their importance. The loss of a batch is (Equation 8)

        cross-entropy + strength / 2 * sum_n decay * F_n (W_n - W'_n)^2

    and after each task `F <- decay * F + F_task`. `F_task` is the diagonal of the Fisher information: the mean square
    of the gradient of `log p(y | x)` over training examples, with `y` drawn from the network's own answer. `F` takes 4
    bytes a weight, once for all tasks, and only training needs it.

    Attributes:
        strength: of the penalty.
        decay: the factor that the importance of earlier tasks is multiplied by with each task, from 0 to 1.
        examples: how many training examples measure the importance, one backward pass each.

    Raises:
        ConfigError: the strength is negative, the decay is not from 0 to 1, or there are no examples.
    """

    strength: float = 100.0
    decay: float = 1.0
    examples: int = 200

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (0 <= self.strength < inf and 0 <= self.decay <= 1 and self.examples >= 1):
            raise ConfigError(
                "EWC takes a strength from 0 up, a decay from 0 to 1 and at least 1 example, got "
                f"{self.strength}, {self.decay} and {self.examples}"
            )

    def begin(self, lesson: Lesson) -> Session:
        return _Penalised(self, lesson)


class _Penalised(SharedWeights):
    """Trains the shared weights with the penalty."""

    def __init__(self, method: EWC, lesson: Lesson) -> None:
        super().__init__(lesson)
        if lesson.network.backbone.normalisation.in_batches:
            raise ConfigError(
                "EWC measures the importance on one example at a time, which has no statistics of a batch; build the "
                'network with norm="per_task", or with another normalisation'
            )
        self._method, device = method, lesson.network.device
        names, memory = lesson.network.weights, lesson.past.memory
        self._fisher = {name: memory[FISHER + name].to(device) for name in names if FISHER + name in memory}

    def loss(self, logits: Logits, inputs: Tensor, targets: Tensor, criterion: Criterion) -> Tensor:
        loss = super().loss(logits, inputs, targets, criterion)
        return loss + 0.5 * self._method.strength * self.penalty() if self._fisher else loss

    def penalty(self) -> Tensor:
        """Return `sum_n decay * F_n (W_n - W'_n)^2`."""
        before, now = self.network.weights, self.parameters
        moved = [(f * (now[name] - before[name]).square()).sum() for name, f in self._fisher.items()]
        return self._method.decay * torch.stack(moved).sum()

    def finish(self) -> Learned:
        found, decay = self._measured(), self._method.decay
        summed = {name: decay * self._fisher[name] + f if self._fisher else f for name, f in found.items()}
        others = {name: value for name, value in self.lesson.past.memory.items() if not name.startswith(FISHER)}
        memory = {**others, **{FISHER + name: value.cpu() for name, value in summed.items()}}
        return replace(super().finish(), memory=memory)

    def _measured(self) -> Mapping[str, Tensor]:
        """Return the importance of each weight for this task, measured on examples drawn at random."""
        task, random = self.lesson.task, generator(self.lesson.seed, "fisher", self.lesson.task.name)
        count = min(self._method.examples, len(task.train))
        rows = torch.from_numpy(random.permutation(len(task.train))[:count])
        total = {name: torch.zeros_like(weight) for name, weight in self.network.weights.items()}
        for row in rows.split(1):
            with torch.enable_grad():
                log_p = self.network.forward(task.train.batch(row)[0], self.effective())[0].log_softmax(dim=0)
                drawn = int((log_p.detach().exp().cumsum(0).cpu() < random.random()).sum().clamp(max=len(log_p) - 1))
                leaves = [self.parameters[name] for name in total]
                gradients = torch.autograd.grad(log_p[drawn], leaves, materialize_grads=True)
            for square, gradient in zip(total.values(), gradients, strict=True):
                square += gradient.square() / count
        return total
