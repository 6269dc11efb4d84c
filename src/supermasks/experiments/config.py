"""An experiment as a typed value: everything that its numbers depend on, and nothing else."""

from abc import ABC, abstractmethod
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from supermasks.data import ImageSource
from supermasks.errors import ConfigError
from supermasks.inference import TaskInference
from supermasks.learner import Learner
from supermasks.training import Progress, Training
from supermasks.types import Scenario, TaskStream

PAPER_CHECKPOINTS = (10, 50, 100, 150, 200, 250, 500, 1000, 1500, 2000)  # SupSup, Figures 3 and 4


@dataclass(frozen=True)
class Published:
    """A figure of a paper that a run can be held against.

    Attributes:
        what: the row of the table.
        accuracy: a fraction.
        objective: of the task inference, None where the task is given.
        scoring: as the paper scored it, None where the task is given.
        source: paper and table.
    """

    what: str
    accuracy: float
    objective: str | None
    scoring: str | None
    source: str


@dataclass(frozen=True, kw_only=True)
class Experiment(ABC):
    """The settings of a run; the defaults are the paper's.

    Attributes:
        tasks: how many tasks are learned, one after the other.
        seed: of the base, the scores, the order of the data, and the tasks; all from independent streams.
        dataset: what the tasks are made from.
    """

    name: ClassVar[str]
    scenario: ClassVar[Scenario]

    tasks: int
    seed: int = 0
    dataset: str

    @property
    @abstractmethod
    def title(self) -> str:
        """A short name for the folder of a run, from the settings in which runs usually differ."""

    @abstractmethod
    def stream(self, data: Path | None) -> TaskStream:
        """Return the tasks.

        Args:
            data: where the data sets lie; None looks in the usual places.

        Raises:
            DataUnavailableError: a data set is not there.
            ConfigError: the tasks cannot be made of it.
        """

    @abstractmethod
    def learner(self, tasks: TaskStream, out: Path, progress: Progress) -> Learner:
        """Return a new learner with these settings.

        Args:
            tasks: that it is to learn.
            out: the folder of the run; what has to be trained before the first task is kept there.
            progress: told of such training.

        Raises:
            ConfigError: a number is out of range, or there are fewer outputs than the settings need.
        """

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        """Return the settings that have a default, which is also what they were in versions that did not know them."""
        return {field.name: field.default for field in fields(cls) if field.default is not MISSING}

    def training(self, usual: Training, index: int) -> Training:
        """Return how the task at `index` is trained, where that is not as `usual`, which is the learner's."""
        del index
        return usual

    @property
    def forgets(self) -> bool:
        """Whether one network is trained on all tasks in turn, with nothing kept apart but heads: the lower bound."""
        return False

    @property
    def trains_first(self) -> bool:
        """Whether something is trained, and kept in the folder of the run, before the first task."""
        return False

    def evaluations(self) -> list[tuple[str, str]]:
        """Return which pairs of objective and scoring are evaluated; none where the task is given in testing."""
        return []

    def task_inference(self, objective: str) -> TaskInference:
        """Return the task inference of this run with the objective of this name.

        Raises:
            ConfigError: in this scenario the task is given.
        """
        raise ConfigError(f"in scenario {self.scenario.name} no task is inferred, so there is no objective {objective}")

    def checkpoints(self) -> list[int]:
        """Return after how many tasks all of them are evaluated: at the end, and of many tasks as in the paper."""
        return [count for count in PAPER_CHECKPOINTS if 50 < self.tasks > count] + [self.tasks]

    def judged(self, count: int) -> int | None:
        """Return how many test examples of each task, drawn at random, are judged among `count` tasks; None for all."""
        del count
        return None

    def foreign_inputs(self, data: Path | None) -> Tensor | None:
        """Return inputs that belong to no task, for the learner to call unknown; None if that is not measured.

        Args:
            data: where the data sets lie; None looks in the usual places.

        Raises:
            DataUnavailableError: the data set is not there.
        """
        del data
        return None

    def published(self) -> list[Published]:
        """Return the figures of papers to hold a run with these settings against."""
        return []


def classes_per_task(source: ImageSource, tasks: int) -> int:
    """Return how many classes each of so many tasks gets.

    Raises:
        ConfigError: the classes do not divide.
    """
    if len(source.classes) % tasks:
        raise ConfigError(f"{len(source.classes)} classes do not divide into {tasks} tasks; choose a divisor")
    return len(source.classes) // tasks
