"""What sources of tasks of images share."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from supermasks.data import ImageSource
from supermasks.datasets import load_source
from supermasks.errors import ConfigError, DataUnavailableError, MissingExtraError
from supermasks.experiments.tasks.source import Limits, TaskSource


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


def classes_per_task(source: ImageSource, tasks: int) -> int:
    """Return how many classes each of so many tasks gets.

    Raises:
        ConfigError: the classes do not divide.
    """
    if len(source.classes) % tasks:
        raise ConfigError(f"{len(source.classes)} classes do not divide into {tasks} tasks; choose a divisor")
    return len(source.classes) // tasks
