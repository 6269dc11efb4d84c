"""Natural tasks of several data sets over one network: digits, clothes, sketches and photographs."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from supermasks.data import ChainedStream, SplitStream
from supermasks.experiments.tasks.images import all_at_hand, held_out, load_grey
from supermasks.experiments.tasks.source import Limits, TaskSource
from supermasks.types import TaskStream

PARTS: Mapping[str, tuple[int, int]] = MappingProxyType(
    {"mnist": (5, 2), "fashion-mnist": (5, 2), "quickdraw": (10, 3), "cifar10": (5, 2), "sample": (5, 2)}
)
"""How many tasks each data set gives, and how many classes a task has."""


@dataclass(frozen=True, kw_only=True)
class Mixed(TaskSource):
    """Classes of MNIST, Fashion-MNIST, QuickDraw and CIFAR-10, all as grey images of 28 x 28 pixels.

    QuickDraw has 345 classes, of which the seed draws 30. `supermasks data fetch quickdraw` gets 80 training images of
    each. The other data sets keep their classes in order.

    Attributes:
        datasets: in the order in which they are learned.
        by: "classes" makes a task of two classes, or of three of QuickDraw (25 tasks in all); "domain" makes one task
            of each data set, with all its classes.
        validation: the fraction of the training images that is held out; 0 for none.
    """

    name = "mixed"

    datasets: tuple[Literal["mnist", "fashion-mnist", "quickdraw", "cifar10", "sample"], ...] = (
        "mnist",
        "fashion-mnist",
        "quickdraw",
        "cifar10",
    )
    by: Literal["classes", "domain"] = "classes"
    validation: float = 0.0

    @property
    def holds_out(self) -> bool:
        return self.validation > 0

    @property
    def count(self) -> int:
        return sum(PARTS[name][0] if self.by == "classes" else 1 for name in self.datasets)

    @property
    def data_sets(self) -> tuple[str, ...]:
        return self.datasets

    @property
    def title(self) -> str:
        return self.name if self.by == "classes" else f"{self.name}-domains"

    def stream(self, data: Path | None, seed: int) -> TaskStream:
        streams = [(name, self._stream(name, data, seed)) for name in self.datasets]
        if self.by == "domain":
            whole = tuple(replace(stream[0], name=name) for name, stream in streams)
            return held_out(whole, self.validation, seed)
        return held_out(ChainedStream(streams), self.validation, seed)

    def small(self, limits: Limits, data: Path | None) -> TaskSource:
        """Return the data sets at hand, with a task of each if tasks of their classes are too many."""
        there = replace(self, datasets=all_at_hand(self.datasets, data))
        if there.count <= max(limits.tasks, PARTS["sample"][0]):
            return there
        return replace(there, datasets=there.datasets[: limits.tasks], by="domain")

    def _stream(self, name: str, data: Path | None, seed: int) -> TaskStream:
        tasks, each = PARTS[name] if self.by == "classes" else (1, PARTS[name][0] * PARTS[name][1])
        return SplitStream(load_grey(name, data), each, seed if name == "quickdraw" else None, tasks)
