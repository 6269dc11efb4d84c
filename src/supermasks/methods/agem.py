"""A-GEM: a step may not increase the loss on remembered examples."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from supermasks.methods.examples import ExampleMemory, Remembered
from supermasks.methods.replay import ReplaySession
from supermasks.methods.sequential import Sequential
from supermasks.methods.session import Criterion, Learned, Lesson, Logits, Session


@dataclass(frozen=True)
class AGEM(Sequential):
    """Sequential training whose gradient never increases the loss on stored examples (A-GEM; Chaudhry et al. 2019).

    Let `g` be the gradient of a batch of `b` examples, and `r` that of `b` stored examples of earlier tasks. If
    `<g, r> < 0`, the step uses (Equation 11)

        g - (<g, r> / <r, r>) r

    The memory is a random sample of all training examples of the earlier tasks. The paper keeps equally many for each
    class. If tasks have heads, an example is replayed through the head of its own task, which is frozen.

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
        return _Projected(lesson, self.memory)


class _Projected(ReplaySession):
    """Trains with gradients that are projected if they disagree with those of remembered examples."""

    def __init__(self, lesson: Lesson, capacity: int) -> None:
        super().__init__(lesson, capacity)
        self._reference: tuple[Tensor, ...] | None = None

    def loss(self, logits: Logits, inputs: Tensor, targets: Tensor, criterion: Criterion) -> Tensor:
        if self._reference is None and (drawn := self.examples.draw(len(inputs), self.random)):
            loss = self.replayed(self.answer(logits, drawn.inputs), drawn)
            leaves = list(self.parameters.values())
            self._reference = torch.autograd.grad(loss, leaves, materialize_grads=True)
        return super().loss(logits, inputs, targets, criterion)

    def after_backward(self) -> None:
        if self._reference is None:
            return
        parameters = list(self.parameters.values())
        gradients = projected([parameter.grad for parameter in parameters], self._reference)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient

    def after_step(self) -> None:
        self._reference = None

    def finish(self) -> Learned:
        for inputs, targets in self.lesson.task.train.batches(1000):
            self.examples.offer(Remembered(inputs, targets, torch.full_like(targets, self.heads.number)), self.random)
        return super().finish()


def projected(gradients: Sequence[Tensor | None], reference: Sequence[Tensor]) -> Sequence[Tensor | None]:
    """Return gradients without what points against a reference: `g - (g.r / r.r) r` if `g.r < 0`.

    Args:
        gradients: of the loss. None stands for 0, for a parameter that it does not depend on; it stays None where the
            reference is 0, too.
        reference: the gradients of the loss on stored examples.
    """
    largest = torch.stack([r.abs().max() for r in reference]).max()
    if largest == 0:
        return gradients
    scaled = [r / largest for r in reference]  # the square of a small gradient would be 0
    pairs = list(zip(gradients, scaled, strict=True))
    along = torch.stack([(g * r).sum() for g, r in pairs if g is not None]).sum()
    if along < 0:
        length = torch.stack([r.square().sum() for r in scaled]).sum()
        return [_without(g, along / length * r) for g, r in pairs]
    return gradients


def _without(gradient: Tensor | None, part: Tensor) -> Tensor | None:
    if gradient is None:
        return -part if bool(part.any()) else None
    return gradient - part
