"""What a router is compared with in `recognition.py`: solutions of all tasks at once, and nearest means."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from supermasks.data import reordered
from supermasks.types import Examples, Task

AT_ONCE = 1000
"""Products of features are integers up to 127^2; float32 holds sums of so many of them exactly."""

RIDGES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
"""Tried on a tenth of the training inputs, as shares of the mean variance of a feature."""

Found = dict[str, float]
Scores = Callable[[Tensor], Tensor]


def tested(task: Task) -> Examples:
    assert task.test is not None
    return task.test


def batches(tasks: Sequence[Task]) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Yield test inputs with the number of their task and their targets."""
    for number, task in enumerate(tasks):
        for inputs, targets in tested(task).batches(AT_ONCE):
            yield number, inputs, targets


def mean_over_tasks(hits: Sequence[Tensor], tasks: Sequence[Task]) -> float:
    parts = torch.cat(list(hits)).double().split([len(tested(task)) for task in tasks])
    return float(torch.stack([part.mean() for part in parts]).mean())


def score(tasks: Sequence[Task], scores: Scores, added: bool = False) -> Found:
    """Return the share of tasks and of classes that are found by a score of each class of all tasks.

    Args:
        tasks: with test inputs.
        scores: from inputs to `inputs x classes`.
        added: whether scores are log probabilities, of which those of the classes of a task are added.
    """
    sizes = [len(task.classes) for task in tasks]
    first, of = np.cumsum([0, *sizes]), torch.repeat_interleave(torch.arange(len(tasks)), torch.tensor(sizes))
    found, right = list[Tensor](), list[Tensor]()
    for number, inputs, targets in batches(tasks):
        each = scores(inputs)
        best = each.argmax(dim=1)
        chosen = torch.stack([part.logsumexp(1) for part in each.split(sizes, 1)], 1).argmax(1) if added else of[best]
        found.append(chosen == number)
        right.append(best == int(first[number]) + targets)
    return {"found": mean_over_tasks(found, tasks), "class": mean_over_tasks(right, tasks)}


def sums_of(examples: Examples, classes: int) -> tuple[Tensor, Tensor]:
    """Return the sum of the inputs of each class, `classes x features`, and how many inputs it has."""
    sums = torch.zeros(classes, int(np.prod(examples.shape)), dtype=torch.float64)
    for inputs, targets in examples.batches(AT_ONCE):
        sums.index_add_(0, targets, inputs.flatten(1).double())
    return sums, torch.bincount(examples.targets, minlength=classes).double()


def nearest_images(tasks: Sequence[Task]) -> dict[str, Found]:
    """Return what the nearest mean input of a task, and of a class, finds."""
    counted = [sums_of(task.train, len(task.classes)) for task in tasks]
    whole = torch.stack([sums.sum(0) / counts.sum() for sums, counts in counted]).float()
    means = torch.cat([sums / counts.clamp(min=1)[:, None] for sums, counts in counted]).float()
    hits = [torch.cdist(inputs.flatten(1), whole).argmin(1) == number for number, inputs, _ in batches(tasks)]
    return {
        "nearest mean, pixels": score(tasks, lambda x: -torch.cdist(x.flatten(1), means)),
        "mean image of a task": {"found": mean_over_tasks(hits, tasks)},
    }


class Joint:
    """Sums over the training features of all tasks at once, in floats of 64 bits; nine tenths apart from the rest.

    Args:
        tasks: with features as inputs.
    """

    def __init__(self, tasks: Sequence[Task]) -> None:
        self._tasks, size = tasks, tasks[0].train.shape[0]
        total = sum(len(task.classes) for task in tasks)
        self._gram = torch.zeros(size, size, dtype=torch.float64)
        self._weighted = torch.zeros(2, size, size, dtype=torch.float64)  # every task counts the same
        self._sums = torch.zeros(2, total, size, dtype=torch.float64)
        self._counts = torch.zeros(2, total, dtype=torch.float64)
        self._weights = torch.zeros(total, dtype=torch.float64)
        self._first, start = list[int](), 0
        for task in tasks:
            self._first.append(start)
            stop, rows = start + len(task.classes), np.arange(len(task.train))
            self._weights[start:stop] = 1 / len(rows) / len(tasks)
            for part in (0, 1):
                examples = reordered(task.train, rows[(rows % 10 == 0) == bool(part)])
                self._sums[part, start:stop], self._counts[part, start:stop] = sums_of(examples, stop - start)
                for inputs, _ in examples.batches(AT_ONCE):
                    products = (inputs.mT @ inputs).double()
                    self._gram += products
                    self._weighted[part] += products * self._weights[start]
            start = stop

    def found(self) -> dict[str, Found]:
        """Return what linear discriminants, ridge regression and nearest means find."""
        counts = self._counts.sum(0)
        means = self._sums.sum(0) / counts.clamp(min=1)[:, None]
        near, shares = means.float(), (counts * self._weights * len(self._tasks)).log()
        within = self._gram - means.mT @ (means * counts[:, None])
        solved = torch.linalg.solve(shrunk(within / counts.sum(), int(counts.sum())), means.mT)
        bias = shares - (means * solved.mT).sum(1) / 2
        ridge = self._ridge((0, 1), self._chosen())
        return {
            "joint LDA": score(self._tasks, lambda x: x.double() @ solved + bias, added=True),
            "joint ridge": score(self._tasks, ridge),
            "nearest mean, features": score(self._tasks, lambda x: -torch.cdist(x, near)),
        }

    def _chosen(self) -> float:
        """Return the penalty that finds most classes on the tenth of the training inputs that was not used."""
        rights = dict[float, float]()
        for penalty in RIDGES:
            scores, rights[penalty] = self._ridge((0,), penalty), 0.0
            for first, task in zip(self._first, self._tasks, strict=True):
                rows = np.arange(0, len(task.train), 10)
                for inputs, targets in reordered(task.train, rows).batches(AT_ONCE):
                    rights[penalty] += float((scores(inputs).argmax(1) == first + targets).sum()) / len(rows)
        return max(rights, key=lambda penalty: rights[penalty])

    def _ridge(self, parts: Sequence[int], penalty: float) -> Scores:
        """Return the scores of ridge regression to one-hot targets, with an intercept."""
        sums = sum(self._sums[part] for part in parts) * self._weights[:, None]
        share = sum(self._counts[part] for part in parts) * self._weights
        share, total = share / share.sum(), share.sum()
        mean = sums.sum(0) / total
        covariance = sum(self._weighted[part] for part in parts) / total - torch.outer(mean, mean)
        covariance.diagonal().add_(penalty * covariance.diagonal().mean())
        solved = torch.linalg.solve(covariance, (sums / total - share[:, None] * mean).mT)
        return lambda x: (x.double() - mean) @ solved + share


def shrunk(covariance: Tensor, count: int) -> Tensor:
    """Return the oracle approximating shrinkage of a covariance, as scikit-learn computes it."""
    size, trace = len(covariance), covariance.trace() / len(covariance)
    alpha = covariance.square().mean()
    above, below = alpha + trace**2, (count + 1) * (alpha - trace**2 / size)
    share = 1.0 if below == 0 else min(float(above / below), 1.0)
    return (1 - share) * covariance + share * trace * torch.eye(size, dtype=covariance.dtype)
