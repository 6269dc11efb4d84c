"""What a number of a table measures, as a value that finds the same number in the record of a run."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from supermasks.evaluation import Scoring
from supermasks.inference import TaskInference
from supermasks.spec import describe

Record = dict[str, Any]


class Measure(ABC):
    """A quantity of a finished run, in the unit of the table."""

    @abstractmethod
    def of(self, record: Record) -> float | None:
        """Return the number in a record; None if the run did not measure it."""

    def at_the_end(self, record: Record) -> float | None:
        """Return the number after the last task of a run with fewer tasks than the paper's."""
        return self.of(record)

    @abstractmethod
    def in_words(self) -> str:
        """Return what is measured, in words."""


@dataclass(frozen=True)
class Accuracy(Measure):
    """The mean accuracy on all tasks, in percent, as the experiment scores it."""

    def in_words(self) -> str:
        return "accuracy, %"

    def of(self, record: Record) -> float | None:
        return 100 * record["accuracy"]["mean"]


@dataclass(frozen=True)
class Given(Measure):
    """The mean accuracy after so many tasks, in percent, with the task given."""

    tasks: int

    def in_words(self) -> str:
        return f"after {self.tasks:,} tasks, %"

    def of(self, record: Record) -> float | None:
        so_far: Sequence[float | None] = record["accuracy"]["so_far"]
        mean = so_far[self.tasks - 1] if self.tasks <= len(so_far) else None
        return None if mean is None else 100 * mean

    def at_the_end(self, record: Record) -> float | None:
        return 100 * record["accuracy"]["task_given"]


@dataclass(frozen=True)
class Among(Measure):
    """The mean accuracy among so many tasks, in percent, with the task inferred."""

    tasks: int
    inference: TaskInference
    scoring: Scoring

    def in_words(self) -> str:
        return f"among {self.tasks:,} tasks, %"

    def of(self, record: Record) -> float | None:
        return self._at(record, self.tasks)

    def at_the_end(self, record: Record) -> float | None:
        return self._at(record, record["tasks"])

    def _at(self, record: Record, tasks: int) -> float | None:
        for evaluation in record["evaluations"]:
            if is_scored_in(evaluation, self.inference, self.scoring):
                found = [row["accuracy"] for row in evaluation.get("among", []) if row["tasks"] == tasks]
                if not found and tasks == record["tasks"]:
                    found = [evaluation["accuracy"]]
                return 100 * found[0] if found else None
        return None


@dataclass(frozen=True)
class Average(Measure):
    """The mean over several numbers."""

    measures: tuple[Measure, ...]

    def in_words(self) -> str:
        return "on average, %"

    def of(self, record: Record) -> float | None:
        return self._mean([measure.of(record) for measure in self.measures])

    def at_the_end(self, record: Record) -> float | None:
        return self._mean([measure.at_the_end(record) for measure in self.measures])

    def _mean(self, numbers: Sequence[float | None]) -> float | None:
        there = [number for number in numbers if number is not None]
        return fmean(there) if len(there) == len(numbers) else None


@dataclass(frozen=True)
class Forgetting(Measure):
    """How far accuracies fell from their best, in points, with the task given."""

    def in_words(self) -> str:
        return "forgotten, points"

    def of(self, record: Record) -> float | None:
        return 100 * record["accuracy"]["forgetting"]


@dataclass(frozen=True)
class Overlap(Measure):
    """The share of a mask that earlier masks use, in percent, on average over all tasks; that of the first is 0."""

    def in_words(self) -> str:
        return "sparse overlap, %"

    def of(self, record: Record) -> float | None:
        overlap: Sequence[float] = record.get("overlap", {}).get("sparse", [])
        return 100 * fmean(overlap) if len(overlap) > 1 else None


@dataclass(frozen=True)
class PaperBytes(Measure):
    """The bytes of masks and statistics of all tasks, as SupSup counts them."""

    def in_words(self) -> str:
        return "bytes, as SupSup counts"

    def of(self, record: Record) -> float | None:
        return record["bytes"]["paper"] if record["bytes"]["masks"] else None


@dataclass(frozen=True)
class Minutes(Measure):
    """How long all tasks took to learn, in minutes."""

    def in_words(self) -> str:
        return "training, minutes"

    def of(self, record: Record) -> float | None:
        return record["seconds"]["train"] / 60


def is_scored_in(evaluation: Record, inference: TaskInference, scoring: Scoring) -> bool:
    """Return whether an evaluation of a record finds and scores the task this way; a shortlist makes no difference."""
    return without_shortlist(evaluation["inference"]) == without_shortlist(describe(inference)) and (
        evaluation["scoring"] == describe(scoring)
    )


def without_shortlist(inference: Record) -> Record:
    """Return a described inference as it is without a shortlist, which finds the same tasks faster."""
    return {**inference, "exact": True} if "exact" in inference else inference
