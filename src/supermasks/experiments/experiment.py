"""An experiment as a value: tasks, a network, a way to learn them, the training, and the evaluation."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from supermasks.errors import ConfigError
from supermasks.experiments.architectures import Architecture
from supermasks.experiments.evaluations import Evaluation, TaskGiven
from supermasks.experiments.tasks import TaskSource
from supermasks.experiments.ways import Setup, Way
from supermasks.learner import Learner
from supermasks.spec import Settings
from supermasks.training import Progress, Training
from supermasks.types import TaskStream


@dataclass(frozen=True, kw_only=True)
class Experiment(Settings):
    """Everything that the numbers of a run depend on.

    Attributes:
        tasks: what is learned.
        net: the backbone.
        way: a method with its settings, under a short name.
        training: how each task is trained.
        evaluation: how the tasks are scored.
        later_epochs: epochs of the tasks after the first (SupSup, Figure 11; ExSSNeT, Figure 4); None for the
            epochs of the first.
        seed: of the base weights, the scores, the order of the data, and the tasks; each has random numbers of its own.

    Raises:
        ConfigError: the parts do not go together.
    """

    tasks: TaskSource
    net: Architecture
    way: Way
    training: Training = field(default_factory=Training)
    evaluation: Evaluation = field(default_factory=TaskGiven)
    later_epochs: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.tasks.count < 1:
            raise ConfigError(f"an experiment needs at least 1 task, got {self.tasks.count}")
        if not isinstance(self.net, self.way.over):
            raise ConfigError(
                f"{self.way.name} is for {self.way.over.__name__} networks, got {type(self.net).__name__}; "
                "choose another way or network"
            )
        self.evaluation.check(self.tasks.count)
        if self.tasks.holds_out and not (self.training.select_best or self.evaluation.calibrated):
            raise ConfigError("validation holds out examples that nothing uses; add select_best, or leave it out")
        if self.evaluation.calibrated and not self.tasks.holds_out:
            raise ConfigError("a calibration needs validation examples; set the validation of the tasks, such as 0.05")
        if self.way.heads and any(found.inference.statistics is None for found in self.evaluation.found()):
            raise ConfigError(
                f"the tasks of {self.way.name} have heads of their own, which cannot be superposed, so that the masks "
                "cannot tell their task; choose another way, an experiment with the task given, or an inference of "
                "supermasks.router"
            )

    @property
    def title(self) -> str:
        """A short name for the folder of a run."""
        return f"{self.tasks.title}-{self.net.title}-{self.way.title}-seed{self.seed}"

    def headings(self) -> dict[str, Any]:
        """Return what records and tables show of an experiment beside its settings."""
        return {
            "experiment": self.tasks.name,
            "scenario": self.evaluation.scenario.name,
            "tasks": self.tasks.count,
            "seed": self.seed,
            "dataset": "+".join(self.tasks.data_sets),
            "net": self.net.title,
            "outputs": self.net.outputs,
            "way": self.way.name,
        }

    def stream(self, data: Path | None = None) -> TaskStream:
        """Return the tasks.

        Args:
            data: where the data sets lie; None looks in the usual places.

        Raises:
            DataUnavailableError: a data set is not there.
            ConfigError: the tasks cannot be made of it.
        """
        return self.tasks.stream(data, self.seed)

    def learner(
        self, tasks: TaskStream, out: Path, progress: Progress, device: str = "cpu", data: Path | None = None
    ) -> Learner:
        """Return a new learner with these settings.

        Args:
            tasks: that it will learn.
            out: the folder of the run; what is trained before the first task is kept there.
            progress: told of such training.
            device: where to compute, such as "cuda".
            data: where a pretrained network is looked for first; None looks in the usual places only.

        Raises:
            ConfigError: a number is out of range, or the parts do not go together.
        """
        found = self.evaluation.found()
        inference = found[0].inference if found else None
        setup = Setup(self.net, tasks, self.training, inference, self.seed, device, out, progress, data)
        return self.way.learner(setup)

    def training_of(self, index: int) -> Training:
        """Return how the task at `index` is trained."""
        training = self.way.training_of_tasks(self.training)
        if self.later_epochs is None or index == 0:
            return training
        return replace(training, steps=None, epochs=self.later_epochs)
