"""RotatedMNIST (SupSup, Section 4.2): each task is turned 10 degrees further."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from supermasks.data import RotatedStream
from supermasks.datasets import load_source
from supermasks.experiments.tasks.images import ImageTasks
from supermasks.types import TaskStream


@dataclass(frozen=True, kw_only=True)
class RotatedMNIST(ImageTasks):
    """The same ten digits in every task, turned by another angle."""

    name = "rotated-mnist"

    tasks: int = 36
    dataset: Literal["mnist", "fashion-mnist", "sample"] = "mnist"

    def stream(self, data: Path | None, seed: int) -> TaskStream:
        return RotatedStream(load_source(self.dataset, data), self.tasks)
