"""iCaRL: the nearest mean of stored examples decides, over features that are held to their earlier answers."""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, normalize, one_hot

from supermasks.brief import brief
from supermasks.changes import Replaced
from supermasks.errors import ConfigError, TaskError
from supermasks.methods.examples import ExampleMemory, Remembered
from supermasks.methods.heads import Heads
from supermasks.methods.last_layer import LastLayer
from supermasks.methods.replay import ReplaySession
from supermasks.methods.sequential import Sequential
from supermasks.methods.session import Criterion, Learned, Lesson, Logits, Session
from supermasks.types import TaskStream

CLASSIFIER = "classifier "
"""The prefix of the names of trained heads in the memory, before the number of the task and the name."""


@dataclass(frozen=True)
class ICaRL(Sequential):
    """Sequential training with stored examples, and classification by the nearest mean (iCaRL; Rebuffi et al. 2017).

    Features `phi(x)` are what enters the last layer. The loss is the binary cross-entropy, summed over outputs, of new
    and stored examples. The outputs of earlier tasks are held to what the network gave before this task, and those of
    the new task to the labels (Algorithm 3). Class weights and label smoothing do not apply.

    After the training, `memory / classes` examples of each class are stored. They are chosen so that their mean feature
    comes close to that of the class (herding, Algorithm 4). An input gets the class whose stored examples have the
    nearest mean, of features of length 1. That is a linear layer: `mean_c^T phi(x)` is largest for this class. So the
    means become the last layer of the task.

    A learned task never changes, so the means of earlier tasks stay, while features move on. The paper computes them
    anew after each task. A batch of `b` examples is joined by `b` stored ones; the paper draws batches from both.
    Without a head, tasks share the outputs: new examples are held to the labels, stored ones to the earlier answers.

    Attributes:
        memory: the largest number of stored examples, of all tasks together. They are part of the bank and its bytes.

    Raises:
        ConfigError: the memory has no place for an example; or, for a task, for one of each class.
        TaskError: a class of a task has no training example, so it has no mean.
    """

    memory: int = 200

    def __post_init__(self) -> None:
        super().__post_init__()
        ExampleMemory(self.memory)  # rejects an invalid size

    def check_tasks(self, tasks: TaskStream) -> None:
        _check_places(self.memory, sum(len(task.classes) for task in tasks))

    def begin(self, lesson: Lesson) -> Session:
        return _Means(lesson, self.memory)


def _check_places(memory: int, classes: int) -> None:
    if memory < classes:
        raise ConfigError(
            f"a memory of {memory} examples is too small for {classes} classes; store at least one example of each "
            "class"
        )


class _Means(ReplaySession):
    """Trains the features, and computes the means."""

    sampled: ClassVar[bool] = False

    def __init__(self, lesson: Lesson, capacity: int) -> None:
        super().__init__(lesson, capacity)
        _check_places(capacity, self._count())
        self._each = capacity // self._count()
        task, seen = lesson.task, set(lesson.task.train.targets.unique().tolist())
        if len(seen) < len(task.classes):
            without = [label for number, label in enumerate(task.classes) if number not in seen]
            raise TaskError(
                f"iCaRL needs a training example of each class, and task {task.name!r} has none of {brief(without)}; "
                "leave these classes out of the task"
            )
        self._last = LastLayer(lesson)
        # Earlier tasks answer with their means; these are the heads that they were trained with.
        self._classifiers = _classifiers(lesson)
        self.heads = Heads(lesson, self._classifiers)
        self._before = {name: value.clone() for name, value in self.buffers.items()}

    def loss(self, logits: Logits, inputs: Tensor, targets: Tensor, criterion: Criterion) -> Tensor:
        del criterion
        drawn, count = self.examples.draw(len(inputs), self.random), len(inputs)
        if drawn is not None:
            inputs = torch.cat([inputs, drawn.inputs.to(inputs.device)])
        outputs = self.answer(logits, inputs)
        wanted = self._wanted(inputs, outputs.detach(), targets, count)
        return binary_cross_entropy_with_logits(outputs, wanted, reduction="none").sum(dim=1).mean()

    def _wanted(self, inputs: Tensor, outputs: Tensor, targets: Tensor, count: int) -> Tensor:
        """Return the probability that each output is held to, `batch x outputs`; the first `count` inputs are new."""
        wanted, number = torch.zeros_like(outputs), self.heads.number
        joined = self.heads.joined(self.head)
        if number:
            with torch.no_grad():
                values = {**self.network.weights, **self._before, **(joined or {})}
                wanted = self.network.forward(inputs, values).sigmoid()
        new = self.heads.of_task(wanted, number)
        labels = one_hot(targets, new.shape[1]).to(new.dtype)
        if joined is None:
            wanted[:count] = labels
        else:
            new[:] = 0
            new[:count] = labels
        return wanted

    def finish(self) -> Learned:
        seen = self.examples.seen + len(self.lesson.task.train)
        self.examples = ExampleMemory(self.examples.capacity, self._chosen(), seen)
        learned = super().finish()
        heads = {**self._classifiers, self.heads.number: self.head}
        trained = {_key(n, name): value.detach().cpu() for n, head in heads.items() for name, value in head.items()}
        others = {name: value for name, value in learned.memory.items() if not name.startswith(CLASSIFIER)}
        means = {name: Replaced(value) for name, value in self._last.holding(self._means()).items()}
        return replace(learned, changes={**learned.changes, **means}, memory={**others, **trained})

    def _features(self, inputs: Tensor) -> Tensor:
        """Return features of length 1, `batch x features`, on the CPU."""
        with torch.no_grad():
            values = {name: value.detach() for name, value in self.effective().items()}
            return normalize(self._last.features(inputs, values)).cpu()

    def _chosen(self) -> Remembered:
        """Return the examples to store: the first of each earlier class, and the best of each new one."""
        train, held, parts = self.lesson.task.train, self.examples.held, list[Remembered]()
        if held is not None:
            groups = torch.stack([held.tasks, held.targets], dim=1)
            for group in groups.unique(dim=0):
                parts.append(held.at((groups == group).all(dim=1).nonzero().flatten()[: self._each]))
        features = torch.cat([self._features(inputs) for inputs, _ in train.batches(1000)])
        for label in train.targets.unique():
            rows = (train.targets == label).nonzero().flatten().cpu()
            inputs, targets = train.batch(rows[herded(features[rows], self._each)])
            targets = targets.cpu()
            parts.append(Remembered(inputs.detach().cpu(), targets, torch.full_like(targets, self.heads.number)))
        return Remembered.joined(parts)

    def _count(self) -> int:
        """Return the number of classes of all tasks."""
        held, new = self.examples.held, len(self.lesson.task.train.targets.unique())
        return new if held is None else new + len({*zip(held.tasks.tolist(), held.targets.tolist(), strict=True)})

    def _means(self) -> Tensor:
        """Return the mean feature of the stored examples of each class of the task, of length 1."""
        held = self.examples.held
        assert held is not None  # finish has stored them
        own = held.at((held.tasks == self.heads.number).nonzero().flatten())
        features, labels = self._features(own.inputs), one_hot(own.targets, len(self.lesson.task.classes)).float()
        return normalize(labels.T @ features)


def _classifiers(lesson: Lesson) -> dict[int, dict[str, Tensor]]:
    """Return the trained heads in the memory, by the number of their task."""
    found = dict[int, dict[str, Tensor]]()
    for key, value in lesson.past.memory.items():
        if key.startswith(CLASSIFIER):
            number, _, name = key.removeprefix(CLASSIFIER).partition(" ")
            found.setdefault(int(number), {})[name] = value
    return found


def _key(number: int, name: str) -> str:
    return f"{CLASSIFIER}{number} {name}"


def herded(features: Tensor, count: int) -> Tensor:
    """Return the rows of at most `count` features, chosen one by one so that their mean stays close to that of all.

    Args:
        features: `examples x features`.
        count: how many to choose.

    Example:
        >>> herded(torch.tensor([[0.0], [1.0], [2.1], [8.9]]), 2)
        tensor([2, 1])
    """
    mean, total = features.mean(dim=0), torch.zeros_like(features[0])
    left, chosen = torch.ones(len(features), dtype=torch.bool), list[int]()
    for number in range(1, min(count, len(features)) + 1):
        far = (mean - (total + features) / number).norm(dim=1)
        best = int(torch.where(left, far, torch.inf).argmin())
        left[best] = False
        total = total + features[best]
        chosen.append(best)
    return torch.tensor(chosen)
