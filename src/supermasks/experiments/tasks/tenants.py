"""Very many tasks over one network, of several kinds: sketches, turned digits, and permuted images."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from supermasks.data import ChainedStream, ImageSource, PermutedStream, RotatedStream, SplitStream
from supermasks.errors import ConfigError
from supermasks.experiments.tasks.images import all_at_hand, load_grey
from supermasks.experiments.tasks.source import Limits, TaskSource
from supermasks.types import TaskStream

Kind = Literal["rotated", "threes", "permuted"]

KINDS: Mapping[str, tuple[Kind, ...]] = MappingProxyType(
    {
        "mnist": ("rotated", "permuted"),
        "fashion-mnist": ("permuted",),
        "quickdraw": ("threes",),
        "sample": ("rotated", "permuted"),
    }
)
"""What tasks are made of each data set."""

MOST: Mapping[Kind, int | None] = MappingProxyType({"rotated": 36, "threes": 115, "permuted": None})
"""How many tasks there can be of a kind: 36 turns of 10 degrees, 115 times 3 of the 345 classes of QuickDraw."""


@dataclass(frozen=True, kw_only=True)
class Tenants(TaskSource):
    """As many tasks as a service for many users has: each of them uses the same network for its own problem.

    All 115 times 3 classes of QuickDraw, MNIST in 36 rotations, and permutations of MNIST and of Fashion-MNIST. The
    kinds have the same number of tasks, as far as they go.

    Attributes:
        tasks: how many.
        datasets: what they are made of.

    Raises:
        ConfigError: there are not as many tasks of these data sets.
    """

    name = "tenants"

    tasks: int = 1000
    datasets: tuple[Literal["mnist", "quickdraw", "fashion-mnist", "sample"], ...] = (
        "mnist",
        "quickdraw",
        "fashion-mnist",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        most = sum(self._counts().values())
        if most < self.tasks:
            raise ConfigError(f"expected at most {most} tasks of {', '.join(self.datasets)}, got {self.tasks}")

    @property
    def count(self) -> int:
        return self.tasks

    @property
    def data_sets(self) -> tuple[str, ...]:
        return self.datasets

    def stream(self, data: Path | None, seed: int) -> TaskStream:
        sources = {name: load_grey(name, data) for name in self.datasets}
        return ChainedStream(
            [(name, _stream(kind, sources[name], count, seed)) for (name, kind), count in self._counts().items()]
        )

    def small(self, limits: Limits, data: Path | None) -> TaskSource:
        return replace(self, tasks=min(self.tasks, limits.tasks), datasets=all_at_hand(self.datasets, data))

    def _counts(self) -> dict[tuple[str, Kind], int]:
        """Return how many tasks there are of each data set and kind."""
        pairs: list[tuple[str, Kind]] = [(name, kind) for name in self.datasets for kind in KINDS[name]]
        pairs.sort(key=lambda pair: MOST[pair[1]] or inf)  # the scarce kinds first; the others share the rest
        counts, left = dict[tuple[str, Kind], int](), self.tasks
        for number, (name, kind) in enumerate(pairs):
            counts[name, kind] = min(MOST[kind] or left, left // (len(pairs) - number))
            left -= counts[name, kind]
        return counts


def _stream(kind: Kind, source: ImageSource, count: int, seed: int) -> TaskStream:
    if count == 0:
        return ()
    if kind == "threes":
        return SplitStream(source, 3, seed, count)
    return RotatedStream(source, count) if kind == "rotated" else PermutedStream(source, count, seed)
