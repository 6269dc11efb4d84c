"""Streams such as SplitMNIST: each task has some of the classes."""

import hashlib
import re
from collections.abc import Hashable
from dataclasses import dataclass

import torch
from torch import Tensor

from supermasks.data.lazy import LazyStream, check_count
from supermasks.data.sources import ImageSource
from supermasks.errors import ConfigError
from supermasks.seeding import generator
from supermasks.types import Examples, Store, Task

LONGEST_NAME = 80  # characters: names appear in tables and may become file names


@dataclass(frozen=True, eq=False)
class SplitStream(LazyStream):
    """Tasks with `classes_per_task` classes of the source each, named by their classes, such as `split-0-1`.

    A task keeps the original labels as its classes, and shares the inputs of the source. A name of more than 80
    characters is cut to its first classes, their number, and a digest of all of them, such as
    `split-n01440764-n01443537-20-classes-1b4f0e9851`.

    Attributes:
        source: of the images.
        classes_per_task: the number of classes of a task.
        seed: shuffles the classes; None keeps their order.
        tasks: the number of tasks; None uses all classes, whose number must then be a multiple of `classes_per_task`.
        shared_labels: whether each task has all classes of the source, though it has examples of its own only. An
            output then stands for the same class in every task, and a prediction is one of all classes.

    Raises:
        ConfigError: the number of classes is not such a multiple, or too small for the tasks; two tasks would have the
            same name; or the seed is not a non-negative integer.

    Example:
        >>> from supermasks.datasets import load_source
        >>> [task.name for task in SplitStream(load_source("sample"), classes_per_task=5)]
        ['split-0-1-2-3-4', 'split-5-6-7-8-9']
    """

    source: ImageSource
    classes_per_task: int = 2
    seed: int | None = None
    tasks: int | None = None
    shared_labels: bool = False

    def __post_init__(self) -> None:
        check_count("the number of classes of a task", self.classes_per_task)
        count = len(self.source.classes)
        if self.tasks is not None:
            check_count("the number of tasks", self.tasks)
            if self.tasks * self.classes_per_task > count:
                raise ConfigError(
                    f"{self.tasks} tasks of {self.classes_per_task} classes need {self.tasks * self.classes_per_task} "
                    f"classes, but {self.source.name} has {count}; pass fewer tasks, or fewer classes per task"
                )
        elif count % self.classes_per_task:
            raise ConfigError(
                f"classes_per_task must divide the number of classes, {count}, got {self.classes_per_task}; pass one "
                f"of {', '.join(str(n) for n in range(1, count + 1) if count % n == 0)}"
            )
        names = [self._name(index) for index in range(len(self))]
        if len(set(names)) != len(names):
            raise ConfigError(f"tasks must have different names, but the classes give {names}; rename the classes")

    def __len__(self) -> int:
        return len(self.source.classes) // self.classes_per_task if self.tasks is None else self.tasks

    def make(self, index: int) -> Task:
        """Make the task at `index`."""
        source, chosen = self.source, self._chosen(index)
        outputs = list(range(len(source.classes))) if self.shared_labels else chosen
        return Task(
            name=self._name(index),
            classes=tuple(source.classes[number] for number in outputs),
            train=_of_classes(source.train_inputs, source.train_targets, chosen, outputs),
            test=_of_classes(source.test_inputs, source.test_targets, chosen, outputs),
        )

    def _chosen(self, index: int) -> list[int]:
        """Return the targets in the source that belong to the task at `index`."""
        count = len(self.source.classes)
        order = range(count) if self.seed is None else generator(self.seed, "class-order").permutation(count).tolist()
        return list(order[index * self.classes_per_task : (index + 1) * self.classes_per_task])

    def _name(self, index: int) -> str:
        return _short(["split", *(_slug(self.source.classes[number]) for number in self._chosen(index))])


def _of_classes(inputs: Tensor | Store, targets: Tensor, chosen: list[int], outputs: list[int]) -> Examples:
    """Return the examples of the chosen classes; their new targets are places in `outputs`."""
    rows = torch.isin(targets, torch.tensor(chosen, device=targets.device)).nonzero().squeeze(1)
    matches = targets[rows].unsqueeze(1) == torch.tensor(outputs, device=targets.device)
    return Examples(inputs, matches.long().argmax(1), rows=rows)


def _short(words: list[str]) -> str:
    name = "-".join(words)
    if len(name) <= LONGEST_NAME:
        return name
    # The digest tells tasks apart that begin with the same classes; it is the same on every machine.
    end = f"-{len(words) - 1}-classes-{hashlib.sha256(name.encode()).hexdigest()[:10]}"
    kept = words[0]
    for word in words[1:]:
        if len(kept) + 1 + len(word) + len(end) > LONGEST_NAME:
            break
        kept = f"{kept}-{word}"
    return kept + end


def _slug(label: Hashable) -> str:
    return re.sub(r"[\W_]+", "-", str(label).lower()).strip("-")
