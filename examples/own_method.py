"""A method of your own, in one file: masks that pay for each weight that they keep, so that they become sparse.

A method makes a session. The session says what is trained, what a step computes with, and what is kept in the end.
This one only changes the loss, and is a SupSup otherwise.
"""

from dataclasses import dataclass
from tempfile import TemporaryDirectory

from torch import Tensor

import supermasks as sm
from supermasks.methods import Criterion, Lesson, Logits, MaskSession


@dataclass(frozen=True)
class Sparse(sm.methods.SupSup):
    """SupSup with a price for each weight that a mask keeps.

    Attributes:
        price: what is added to the loss if all weights are kept.
    """

    price: float = 0.1

    def begin(self, lesson: Lesson) -> MaskSession:
        return SparseSession(self, lesson)


class SparseSession(MaskSession):
    """One task under training: what `begin` returns."""

    def __init__(self, method: Sparse, lesson: Lesson) -> None:
        super().__init__(method, lesson)
        self.price = method.price

    def loss(self, logits: Logits, inputs: Tensor, targets: Tensor, criterion: Criterion) -> Tensor:
        # The share of the scores above the threshold, made soft, so that it has a gradient.
        kept = [(100 * scores).sigmoid() for scores in self.scores.values()]
        share = sum(each.sum() for each in kept) / sum(each.numel() for each in kept)
        return super().loss(logits, inputs, targets, criterion) + self.price * share


def main() -> None:
    """Compare it with SupSup."""
    task = sm.data.PermutedStream(sm.datasets.load_source("sample"), tasks=1, seed=0)[0]
    training = sm.training.Training(steps=200, optimiser=sm.training.RMSprop(3e-4))
    for method in (sm.methods.SupSup(), Sparse(price=0.1)):
        learner = sm.Learner(sm.nets.lenet_300_100(outputs=20), seed=0, method=method, training=training)
        learner.learn(task)
        with TemporaryDirectory() as folder:
            learner.save(folder)
            loaded = sm.Learner.load(folder, sm.nets.lenet_300_100(outputs=20))  # finds the method by its name
            size = sm.BankFolder(folder).task_sizes()[task.name]
        accuracy, density = loaded.accuracy(task.test, task.name), loaded.bank[task.name].mask.density()
        print(f"{type(loaded.method).__name__}: {100 * accuracy:.1f}%, density {density:.3f}, {size} bytes")


if __name__ == "__main__":
    main()
