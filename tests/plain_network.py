"""A network of two layers written out in float64, and its training by plain gradient descent: the truth for methods."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from supermasks import Learner, Network, Task
from supermasks.bases import RandomBase
from supermasks.methods import Method
from supermasks.nets import fully_connected
from supermasks.seeding import generator
from supermasks.training import SGD, Training

STEPS, BATCH, RATE, SEED = 20, 16, 0.1, 1
TRUNK, LAST = "1.weight", "3.weight"


def learner_of(method: Method, own_heads: bool) -> Learner:
    network = Network(fully_connected([8, 16, 6]), RandomBase(1), head="3" if own_heads else None)
    return Learner(network, seed=SEED, method=method, training=Training(STEPS, BATCH, SGD(RATE, 0.0)))


@dataclass
class Plain:
    """The same network: a trunk, and one last layer for all tasks or one for each.

    Attributes:
        trunk: `hidden x inputs`.
        last: of each task so far; the same tensor again and again if tasks share it.
        own_heads: whether each task has its own.
    """

    trunk: Tensor
    last: list[Tensor]
    own_heads: bool

    @classmethod
    def of(cls, learner: Learner) -> "Plain":
        weights, own = learner.network.weights, learner.network.head is not None
        return cls(_leaf(weights[TRUNK]), [] if own else [_leaf(weights[LAST])], own)

    def begin(self, learner: Learner, task: Task) -> None:
        """Add the last layer of a task, as the library starts it."""
        if self.own_heads:
            self.last.append(_leaf(learner.method.begin(learner._lesson(task)).parameters[LAST]))

    def head(self, number: int) -> Tensor:
        return self.last[number if self.own_heads else 0]

    def logits(self, inputs: Tensor, number: int) -> Tensor:
        return (inputs.double() @ self.trunk.T).relu() @ self.head(number).T

    def frozen(self) -> "Plain":
        """Return a copy that is not trained."""
        return Plain(self.trunk.detach().clone(), [last.detach().clone() for last in self.last], self.own_heads)

    def trained(self, number: int) -> list[Tensor]:
        """Return what is trained in a task."""
        return [self.trunk, self.head(number)]

    def shared(self) -> list[Tensor]:
        """Return what all tasks share."""
        return [self.trunk] if self.own_heads else [self.trunk, self.last[0]]

    def descend(self, number: int, gradients: tuple[Tensor, ...] | list[Tensor]) -> None:
        with torch.no_grad():
            for value, gradient in zip(self.trained(number), gradients, strict=True):
                value -= RATE * gradient

    def train(self, task: Task, number: int, loss: Callable[[Tensor, Tensor], Tensor]) -> None:
        """Make all steps of a task by the gradient of a loss of inputs and targets."""
        for inputs, targets in batches(task):
            self.descend(number, torch.autograd.grad(loss(inputs, targets), self.trained(number)))

    def check(self, learner: Learner) -> None:
        """Compare the shared weights with those of a learner."""
        for name, value in zip((TRUNK, LAST), self.shared(), strict=False):
            torch.testing.assert_close(learner.network.weights[name].double(), value.detach(), rtol=0, atol=1e-5)


def batches(task: Task, steps: int = STEPS) -> Iterator[tuple[Tensor, Tensor]]:
    random, rows = generator(SEED, "data-order", task.name), torch.empty(0, dtype=torch.int64)
    for _ in range(steps):
        if len(rows) < BATCH:
            rows = torch.cat([rows, torch.from_numpy(random.permutation(len(task.train)))])
        yield task.train.inputs[rows[:BATCH]], task.train.targets[rows[:BATCH]]
        rows = rows[BATCH:]


def _leaf(value: Tensor) -> Tensor:
    return value.detach().double().clone().requires_grad_()
