"""How well a learner does on test data when it must find the task itself: four ways of scoring."""

from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from supermasks.data import reordered
from supermasks.errors import ConfigError
from supermasks.learner import Learner
from supermasks.seeding import generator
from supermasks.spec import Settings
from supermasks.types import Examples, Scenario

AT_ONCE = 10_000
"""How many inputs are read at a time; it does not change a score."""


@dataclass(frozen=True)
class Score:
    """How well a learner did on one task.

    Attributes:
        accuracy: the fraction of examples answered rightly under the rules of the scenario.
        identification: the fraction of the decisions about the task that were right.
    """

    accuracy: float
    identification: float


class Scoring(Settings, ABC):
    """Decides how many inputs a task is inferred from, and what a wrong inference costs.

    Attributes:
        together: whether all inputs of a batch decide together; None if some of them do; otherwise a single input
            decides.
    """

    together: ClassVar[bool | None] = False

    @abstractmethod
    def score(
        self,
        learner: Learner,
        task: str,
        examples: Examples,
        scenario: Scenario,
        among: Sequence[str] | None = None,
    ) -> Score:
        """Return the score on the examples of one task, the task not being given.

        Args:
            learner: with the task in its bank.
            task: the name of the task that the examples belong to.
            examples: to answer; targets are indices into the classes of the task.
            scenario: with shared labels a right label counts whatever the task; otherwise the task must be right too.
            among: the names of the tasks to choose among; all that were learned if None.

        Raises:
            TaskError: there are no examples.
            LabelError: a target lies outside of the classes of the task.
            UnknownTaskError: the learner has not learned the task.
            ConfigError: in this scenario the task is given, so that there is nothing to infer.
        """


@dataclass(frozen=True)
class EachInput(Scoring):
    """Every input is a decision of its own: the honest default.

    Attributes:
        chunk: how many inputs are computed at once; it does not change the score.
    """

    chunk: int = 1000

    def score(
        self,
        learner: Learner,
        task: str,
        examples: Examples,
        scenario: Scenario,
        among: Sequence[str] | None = None,
    ) -> Score:
        right = found = 0
        _check(learner, task, examples, scenario)
        for inputs, targets in examples.batches(self.chunk):
            prediction = learner.predict(inputs, among=among)
            identified = torch.tensor([name == task for name in prediction.tasks])
            correct = _matches(learner, task, prediction.labels, targets)
            right += int((correct if scenario.shared_labels else correct & identified).sum())
            found += int(identified.sum())
        return Score(right / len(examples), found / len(examples))


@dataclass(frozen=True)
class FirstOfBatch(Scoring):
    """SupSup's scoring: the first image decides the task of its batch.

    Unless labels are shared, a wrong task costs the whole batch.

    Attributes:
        batch_size: 128 in the paper (Section 4.2).
    """

    batch_size: int = 128

    def score(
        self,
        learner: Learner,
        task: str,
        examples: Examples,
        scenario: Scenario,
        among: Sequence[str] | None = None,
    ) -> Score:
        _check(learner, task, examples, scenario)
        first, _ = examples.batch(torch.arange(0, len(examples), self.batch_size))
        decided = learner.infer(first, among=among).tasks
        return _score_batches(learner, task, examples, scenario, self.batch_size, decided)


@dataclass(frozen=True)
class FullBatch(Scoring):
    """SupSup's "full batch": all images together decide the task of their batch.

    Unless labels are shared, a wrong task costs the whole batch. Batches are drawn at random, as in the paper's code:
    test images often come in an order, those of MNIST by their writers, and 128 images of one slanting hand look
    like another rotation.

    Attributes:
        batch_size: 128 in the paper (Section 4.2).
    """

    together = True

    batch_size: int = 128

    def score(
        self,
        learner: Learner,
        task: str,
        examples: Examples,
        scenario: Scenario,
        among: Sequence[str] | None = None,
    ) -> Score:
        _check(learner, task, examples, scenario)
        mixed = shuffled(examples, task, learner.seed)
        decided = [
            learner.infer(inputs, together=True, among=among).tasks[0] for inputs, _ in mixed.batches(self.batch_size)
        ]
        return _score_batches(learner, task, mixed, scenario, self.batch_size, decided)


@dataclass(frozen=True)
class SomeOfBatch(Scoring):
    """The first `images` of a batch together decide its task (SupSup, Appendix C, where `images` is `b`).

    Unless labels are shared, a wrong task costs the whole batch. Batches are drawn at random, as in `FullBatch`. A
    batch with fewer images is decided by all of them.

    Attributes:
        images: how many images decide, at most `batch_size`.
        batch_size: 128 in the paper (Section 4.2).

    Raises:
        ConfigError: a number is out of its range.
    """

    together = None

    images: int = 16
    batch_size: int = 128

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.images <= self.batch_size:
            raise ConfigError(
                f"images must be from 1 to the batch size, {self.batch_size}, got {self.images}; to decide by all "
                "images of a batch, use FullBatch()"
            )

    def score(
        self,
        learner: Learner,
        task: str,
        examples: Examples,
        scenario: Scenario,
        among: Sequence[str] | None = None,
    ) -> Score:
        _check(learner, task, examples, scenario)
        mixed = shuffled(examples, task, learner.seed)
        firsts = [inputs[: self.images] for inputs, _ in mixed.batches(self.batch_size)]
        decided = _decided(learner, firsts, among)
        return _score_batches(learner, task, mixed, scenario, self.batch_size, decided)


def shuffled(examples: Examples, task: str, seed: int, count: int | None = None) -> Examples:
    """Return the test examples of a task in the random order in which full batches are drawn, or so many of them."""
    return reordered(examples, generator(seed, "test-batches", task).permutation(len(examples))[:count])


def _decided(learner: Learner, batches: Sequence[Tensor], among: Sequence[str] | None) -> list[str]:
    """Return for each batch the task that all its inputs together decide."""
    alone = learner.network.norm != "batch" and learner.calibration is None
    if not (alone and learner.inference.averages):
        return [learner.infer(inputs, together=True, among=among).tasks[0] for inputs in batches]
    # The evidence of a batch is the mean over its inputs. So each mask is computed once, not once for each batch.
    belief = learner.infer(torch.cat(list(batches)), among=among)
    parts = belief.evidence.split([len(inputs) for inputs in batches])
    largest = torch.stack([part.double().mean(dim=0) for part in parts]).max(dim=1)  # the first of the largest
    return [belief.candidates[index] for index in largest.indices.tolist()]


def _score_batches(
    learner: Learner, task: str, examples: Examples, scenario: Scenario, size: int, decided: Sequence[str]
) -> Score:
    """Return the score where each batch of `size` examples was decided to be of a task."""
    right, number_of_batch = 0, torch.arange(len(examples)) // size
    for inferred in set(decided) if scenario.shared_labels else {task}.intersection(decided):
        batches = torch.tensor([name == inferred for name in decided])
        for rows in batches[number_of_batch].nonzero().flatten().split(AT_ONCE):
            inputs, targets = examples.batch(rows)
            right += int(_matches(learner, task, learner.predict(inputs, task=inferred).labels, targets).sum())
    return Score(right / len(examples), sum(name == task for name in decided) / len(decided))


def _check(learner: Learner, task: str, examples: Examples, scenario: Scenario) -> None:
    if scenario.id_at_test:
        raise ConfigError(f"in scenario {scenario.name} the task is given; use learner.accuracy(examples, task)")
    learner.check_targets(examples, task)


def _matches(learner: Learner, task: str, labels: Sequence[Hashable], targets: Tensor) -> Tensor:
    classes = learner.bank[task].classes
    return torch.tensor([label == classes[target] for label, target in zip(labels, targets.tolist(), strict=True)])
