"""What is learned, as a value."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar, NamedTuple

from supermasks.spec import Settings
from supermasks.types import TaskStream


class Limits(NamedTuple):
    """How large a small version may be: at most so many tasks, and training examples a task."""

    tasks: int
    examples: int


class TaskSource(Settings, ABC):
    """Says which tasks an experiment learns; subclasses are frozen dataclasses.

    Attributes:
        name: of the experiment in records and on the command line.
    """

    name: ClassVar[str]

    @property
    @abstractmethod
    def count(self) -> int:
        """How many tasks there are."""

    @property
    @abstractmethod
    def data_sets(self) -> tuple[str, ...]:
        """The names of the data sets."""

    @property
    def holds_out(self) -> bool:
        """Whether training examples are held out to select the best epoch."""
        return False

    @property
    def title(self) -> str:
        """A short name for the folder of a run."""
        return self.name

    @abstractmethod
    def stream(self, data: Path | None, seed: int) -> TaskStream:
        """Return the tasks.

        Args:
            data: where the data sets lie; None looks in the usual places.
            seed: of what is random about them.

        Raises:
            DataUnavailableError: a data set is not there.
            ConfigError: the tasks cannot be made of it.
        """

    def small(self, limits: Limits, data: Path | None) -> "TaskSource | None":
        """Return a small version of real data that are at hand; None if there are none.

        Args:
            limits: of tasks and training examples.
            data: where the data sets lie; None looks in the usual places.
        """
        del limits, data
        return None
