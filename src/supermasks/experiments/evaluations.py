"""How an experiment is scored: with the task given, or with the task inferred from the test inputs."""

from abc import ABC
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from supermasks.datasets import load_source
from supermasks.errors import ConfigError
from supermasks.evaluation import EachInput, FirstOfBatch, Scoring
from supermasks.inference import Objective, OneShot, TaskInference
from supermasks.inference.calibration import LEAST_TASKS
from supermasks.spec import Settings
from supermasks.streams import NoveltyRule, UniformEvidence, random_lengths
from supermasks.types import GG, GNU, NNS, Scenario

PAPER_CHECKPOINTS = (10, 50, 100, 150, 200, 250, 500, 1000, 1500, 2000)  # SupSup, Figures 3 and 4
FEW_TASKS = 50
"""Up to so many tasks, all of them are measured after each task; of more, at the checkpoints only."""


class Found(NamedTuple):
    """One way of finding the task, and of scoring it."""

    inference: TaskInference
    scoring: Scoring


@dataclass(frozen=True)
class By(Settings):
    """One more pair that the same masks are scored by.

    Attributes:
        objective: replaces that of the inference.
        scoring: how many inputs decide together, and what a wrong task costs.
    """

    objective: Objective
    scoring: Scoring


def with_objectives(inference: TaskInference, scoring: Scoring, further: tuple[By, ...]) -> list[Found]:
    """Return an inference with its scoring, and the same with other objectives and scorings.

    Raises:
        ConfigError: there are others, but the inference has no objective.
    """
    found: Any = inference
    if further and not hasattr(found, "objective"):
        raise ConfigError(
            f"{type(found).__name__} has no objective that `further` could replace; leave it out, or choose an "
            "inference with an objective, such as OneShot()"
        )
    others = [Found(replace(found, objective=by.objective), by.scoring) for by in further]
    return list(dict.fromkeys([Found(inference, scoring), *others]))


@dataclass(frozen=True, kw_only=True)
class Evaluation(Settings, ABC):
    """How the learned tasks are scored.

    Attributes:
        checkpoints: after how many tasks all of them are measured, where there are more than 50; and at the end.
    """

    scenario: ClassVar[Scenario]

    checkpoints: tuple[int, ...] = PAPER_CHECKPOINTS

    @property
    def calibrated(self) -> bool:
        """Whether the inference is calibrated on the validation examples of the tasks, before it is scored."""
        return False

    def counts(self, tasks: int) -> list[int]:
        """Return after how many of the tasks all of them are evaluated."""
        return [count for count in self.checkpoints if FEW_TASKS < tasks > count] + [tasks]

    def found(self) -> list[Found]:
        """Return how the task is found and scored, the headline first; nothing where the task is given."""
        return []

    def judged(self, count: int, tasks: int) -> int | None:
        """Return how many test examples of each task are judged among `count` of the tasks; None for all."""
        del count, tasks
        return None

    def check(self, tasks: int) -> None:
        """Raise ConfigError if so many tasks cannot be evaluated this way."""

    def foreign_inputs(self, data: Path | None) -> Tensor | None:
        """Return inputs that belong to no task, which the learner should call unknown; None if that is not measured."""
        del data
        return None


@dataclass(frozen=True, kw_only=True)
class TaskGiven(Evaluation):
    """Scenario GG: the task is given in training and in testing."""

    scenario = GG


@dataclass(frozen=True, kw_only=True)
class TaskInferred(Evaluation):
    """Scenario GNu: the task is given in training, and inferred in testing.

    Attributes:
        inference: how the task of test inputs is found.
        scoring: whether each input finds its task by itself, the first of a batch for all, or all together.
        further: pairs of objective and scoring that the same masks are scored by as well.
        checkpoint_images: how many test inputs of each task are judged at checkpoints before the last; None for all.
        foreign: a data set whose images belong to no task, of the same shape as those of the tasks; a calibrated
            learner should call them unknown.
        calibrate: whether the inference is calibrated on the validation examples of the tasks, before it is scored.
    """

    scenario = GNU

    inference: TaskInference = field(default_factory=OneShot)
    scoring: Scoring = field(default_factory=EachInput)
    further: tuple[By, ...] = ()
    checkpoint_images: int | None = None
    foreign: Literal["mnist", "fashion-mnist", "quickdraw", "cifar10", "cifar100", "sample"] | None = None
    calibrate: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.checkpoint_images is not None and self.checkpoint_images < 1:
            raise ConfigError(f"checkpoint_images must be at least 1, or None for all, got {self.checkpoint_images}")

    def check(self, tasks: int) -> None:
        if self.foreign is not None and tasks < LEAST_TASKS:
            raise ConfigError(f"to call inputs unknown takes at least {LEAST_TASKS} tasks, got {tasks}")

    @property
    def calibrated(self) -> bool:
        return self.calibrate

    def found(self) -> list[Found]:
        return with_objectives(self.inference, self.scoring, self.further)

    def judged(self, count: int, tasks: int) -> int | None:
        return self.checkpoint_images if count < tasks else None

    def foreign_inputs(self, data: Path | None) -> Tensor | None:
        if self.foreign is None:
            return None
        inputs = load_source(self.foreign, data).test_inputs
        return inputs if isinstance(inputs, Tensor) else inputs[torch.arange(len(inputs))]


@dataclass(frozen=True, kw_only=True)
class TaskUnknown(Evaluation):
    """Scenario NNs: no task labels, neither in training nor in testing (SupSup, Section 4.3).

    A test input counts as answered rightly if its label is right. Its task counts as found if the mask that answers is
    the one that was trained on most batches of this task.

    Attributes:
        novelty: decides when a mask is opened.
        shortest: the least number of batches of a visit; None for the steps of the training, so that all boundaries
            fall on the same multiple.
        longest: the largest number of batches of a visit; drawn at random between the two.
        first: the number of batches of the very first visit, if it is another.
        rounds: how often all tasks come, one after the other.
        open_tasks: how many masks are kept ready for more training; None for all.
        max_tasks: the most masks; None for any number.
        inference: how the task of test inputs is found.
        scoring: whether each input finds its task by itself, the first of a batch for all, or all together.
        further: pairs of objective and scoring that the same masks are scored by as well.
        judged_inputs: how many test inputs of each task are judged; None for all.
    """

    scenario = NNS

    novelty: NoveltyRule = field(default_factory=UniformEvidence)
    shortest: int | None = None
    longest: int | None = None
    first: int | None = None
    rounds: int = 1
    open_tasks: int | None = 4
    max_tasks: int | None = None
    inference: TaskInference = field(default_factory=OneShot)
    scoring: Scoring = field(default_factory=FirstOfBatch)
    further: tuple[By, ...] = ()
    judged_inputs: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.shortest is None) != (self.longest is None) or self.rounds < 1:
            raise ConfigError(
                "set both shortest and longest, or none of them, and at least 1 round, got "
                f"shortest={self.shortest}, longest={self.longest}, rounds={self.rounds}"
            )
        if self.first is not None and self.first < 1:
            raise ConfigError(f"first must be at least 1 batch, or None for as many as the others, got {self.first}")
        if self.judged_inputs is not None and self.judged_inputs < 1:
            raise ConfigError(f"judged_inputs must be at least 1, or None for all, got {self.judged_inputs}")

    def found(self) -> list[Found]:
        return with_objectives(self.inference, self.scoring, self.further)

    def visits(self, tasks: int, batches: int, seed: int) -> tuple[tuple[int, int], ...]:
        """Return for each visit the index of its task and its number of batches.

        Args:
            tasks: how many there are.
            batches: of each visit, where lengths are not drawn.
            seed: of the lengths.
        """
        if self.shortest is None or self.longest is None:
            visits = tuple((index, batches) for index in range(tasks)) * self.rounds
        else:
            drawn = random_lengths(tasks * self.rounds, self.shortest, self.longest, seed)
            visits = tuple((number % tasks, count) for number, count in drawn)
        return visits if self.first is None else ((0, self.first), *visits[1:])
