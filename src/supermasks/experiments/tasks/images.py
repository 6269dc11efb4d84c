"""What sources of tasks of images share."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal, TypeVar

from supermasks.data import ImageSource, MappedStream, grey, with_validation
from supermasks.datasets import load_source
from supermasks.datasets.images.cifar import TEN
from supermasks.errors import ConfigError, DataUnavailableError, MissingExtraError
from supermasks.experiments.tasks.source import Limits, TaskSource
from supermasks.types import TaskStream

Name = TypeVar("Name", bound=str)


@dataclass(frozen=True, kw_only=True)
class ImageTasks(TaskSource):
    """Tasks that are made from one data set of images.

    Attributes:
        tasks: how many are learned, one after another.
        dataset: what they are made from; "sample" is embedded in the package, the others are read from files.
    """

    tasks: int
    dataset: str

    @property
    def count(self) -> int:
        return self.tasks

    @property
    def data_sets(self) -> tuple[str, ...]:
        return (self.dataset,)

    def small(self, limits: Limits, data: Path | None) -> TaskSource:
        return replace(self, tasks=min(self.tasks, limits.tasks), dataset=at_hand((self.dataset, "sample"), data))


def at_hand(names: Sequence[str], data: Path | None) -> str:
    """Return the first of these data sets that is on this machine; the last one must be."""
    for name in names[:-1]:
        try:
            load_source(name, data)
        except (DataUnavailableError, MissingExtraError):
            continue
        return name
    return names[-1]


def all_at_hand(names: Sequence[Name], data: Path | None) -> tuple[Name | Literal["sample"], ...]:
    """Return those of some data sets that are on this machine; only the embedded sample if none is."""
    return tuple(name for name in names if at_hand((name, "sample"), data) == name) or ("sample",)


def load_grey(name: str, data: Path | None) -> ImageSource:
    """Return a data set of images of 28 x 28 pixels with one channel; CIFAR-10 is turned into grey."""
    source = load_source(name, data)
    return grey(source, TEN.normalisation) if name == TEN.name else source


def held_out(stream: TaskStream, fraction: float, seed: int) -> TaskStream:
    """Return the tasks with a part of their training examples as validation examples.

    Args:
        stream: of tasks without validation examples.
        fraction: of the training examples; 0 for none.
        seed: for the choice.
    """
    return MappedStream(stream, partial(with_validation, fraction=fraction, seed=seed)) if fraction else stream


def classes_per_task(source: ImageSource, tasks: int) -> int:
    """Return how many classes each of so many tasks gets.

    Raises:
        ConfigError: the classes do not divide.
    """
    if len(source.classes) % tasks:
        raise ConfigError(f"{len(source.classes)} classes do not divide into {tasks} tasks; choose a divisor")
    return len(source.classes) // tasks
