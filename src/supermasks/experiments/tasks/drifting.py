"""Digits that turn slowly: nobody can say where one task ends and the next begins."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from supermasks.data import RotatedStream
from supermasks.datasets import load_source
from supermasks.experiments.tasks.images import ImageTasks
from supermasks.types import TaskStream


@dataclass(frozen=True, kw_only=True)
class DriftingMNIST(ImageTasks):
    """The same ten digits, turned further and further, up to a full turn.

    Attributes:
        tasks: how many angles there are.
        degrees: from one angle to the next.
    """

    name = "drifting-mnist"

    tasks: int = 360
    degrees: float = 1.0
    dataset: Literal["mnist", "fashion-mnist", "sample"] = "mnist"

    def stream(self, data: Path | None, seed: int) -> TaskStream:
        return RotatedStream(load_source(self.dataset, data), self.tasks, self.degrees)
