"""An experiment as a typed value: everything that its numbers depend on, and nothing else."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

from supermasks.data import ImageSource
from supermasks.errors import ConfigError
from supermasks.evaluation import EachInput, FirstOfBatch, FullBatch, Scoring
from supermasks.inference import (
    Binary,
    Entropy,
    Exhaustive,
    MaxProbability,
    Objective,
    OneShot,
    SuperfluousNeurons,
    TaskInference,
)
from supermasks.learner import Learner
from supermasks.masks import Threshold, TopK
from supermasks.methods import SupSup
from supermasks.nets import fc_1024_1024, lenet_300_100
from supermasks.scores import KaimingUniform
from supermasks.training import Adam, RMSprop, Training
from supermasks.types import Scenario, TaskStream

NETS = {"lenet-300-100": lenet_300_100, "fc-1024-1024": fc_1024_1024}
OUTPUTS = {"lenet-300-100": 100, "fc-1024-1024": 500}
OPTIMISERS = {"rmsprop": RMSprop, "adam": Adam}
INFERENCES: dict[str, type[OneShot] | type[Binary] | type[Exhaustive]] = {
    "one-shot": OneShot,
    "binary": Binary,
    "exhaustive": Exhaustive,
}
OBJECTIVES: dict[str, type[Objective]] = {"H": Entropy, "G": SuperfluousNeurons, "M": MaxProbability}
SCORINGS: dict[str, type[Scoring]] = {"each-input": EachInput, "first-of-batch": FirstOfBatch, "full-batch": FullBatch}


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
        net: the backbone.
        outputs: real and superfluous neurons together; by default 100 for LeNet 300-100, 500 for FC 1024-1024.
        dataset: "sample" is embedded in the package, the others are read from files.
        steps: optimiser steps a task.
        batch_size: training examples a step.
        optimiser: of the scores.
        learning_rate: of the optimiser.
        schedule: of the learning rate over a task.
        density: fraction of weights kept a layer, by top-k; None for the threshold rule.
        shared_scores: scores of all tasks begin with the same random numbers, not each with its own.
        inference: how the task of test inputs is found.
        objective: entropy H, superfluous neurons G, or maximal probability M.
        scoring: whether each input finds its task by itself, the first of a batch for all, or all together.
    """

    name: ClassVar[str]
    scenario: ClassVar[Scenario]

    tasks: int
    seed: int = 0
    net: Literal["lenet-300-100", "fc-1024-1024"] = "lenet-300-100"
    outputs: int | None = None
    dataset: Literal["mnist", "fashion-mnist", "sample"] = "mnist"
    steps: int = 1000
    batch_size: int = 128
    optimiser: Literal["rmsprop", "adam"] = "rmsprop"
    learning_rate: float = 1e-4
    schedule: Literal["constant", "cosine"] = "constant"
    density: float | None = None
    shared_scores: bool = False
    inference: Literal["one-shot", "binary", "exhaustive"] = "one-shot"
    objective: Literal["H", "G", "M"] = "H"
    scoring: Literal["each-input", "first-of-batch", "full-batch"] = "each-input"

    @abstractmethod
    def stream(self, source: ImageSource) -> TaskStream:
        """Return the tasks, made from a source."""

    @abstractmethod
    def evaluations(self) -> list[tuple[str, str]]:
        """Return which pairs of objective and scoring are evaluated; the first is the headline of the record."""

    def published(self) -> list[Published]:
        """Return the figures of papers to hold a run with these settings against."""
        return []

    def learner(self) -> Learner:
        """Return a new learner with these settings.

        Raises:
            ConfigError: a number is out of range, or there are fewer outputs than the settings need.
        """
        if self.tasks < 1:
            raise ConfigError(f"an experiment has at least one task, but tasks={self.tasks} came")
        outputs = OUTPUTS[self.net] if self.outputs is None else self.outputs
        optimiser = OPTIMISERS[self.optimiser](self.learning_rate)
        return Learner(
            NETS[self.net](outputs),
            seed=self.seed,
            method=SupSup(
                Threshold() if self.density is None else TopK(self.density), KaimingUniform(shared=self.shared_scores)
            ),
            training=Training(self.steps, self.batch_size, optimiser, self.schedule),
            inference=self.task_inference(self.objective),
        )

    def task_inference(self, objective: str) -> TaskInference:
        """Return the task inference of this run with the objective of this name."""
        return INFERENCES[self.inference](OBJECTIVES[objective]())
