"""What sources of tasks share that make one task of each data set."""

from abc import ABC
from dataclasses import dataclass, replace

from supermasks.data import limited, reordered
from supermasks.errors import ConfigError
from supermasks.experiments.tasks.source import TaskSource
from supermasks.seeding import generator
from supermasks.types import Task


@dataclass(frozen=True, kw_only=True)
class DataSetTasks(TaskSource, ABC):
    """One task of each data set that `datasets` names.

    Attributes:
        validation: the fraction of the training examples that is held out to select the best epoch; 0 for none.

    Raises:
        ConfigError: no data set is named, or one is named twice.
    """

    datasets: tuple[str, ...]
    validation: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.datasets or len(set(self.datasets)) < len(self.datasets):
            raise ConfigError(
                f"datasets must name at least one data set, and none twice, got {' '.join(self.datasets) or 'none'}"
            )

    @property
    def count(self) -> int:
        return len(self.datasets)

    @property
    def data_sets(self) -> tuple[str, ...]:
        return self.datasets

    @property
    def holds_out(self) -> bool:
        return self.validation > 0


def at_most(task: Task, train: int | None, test: int | None, seed: int, what: str) -> Task:
    """Return a task with at most so many training and test examples, chosen at random; None for all.

    Args:
        task: with all of them.
        train: the most training examples.
        test: the most test examples.
        seed: for the choice.
        what: the examples are, such as "texts"; it is part of the seed.

    """
    if train is not None and train < len(task.train):
        task = limited(task, train, seed)
    if task.test is None or test is None:
        return task
    chosen = generator(seed, f"test {what}", task.name).permutation(len(task.test))[:test]
    return replace(task, test=reordered(task.test, chosen))
