"""PermutedMNIST (SupSup, Section 4.2): each task has its own permutation of the pixels."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from supermasks.data import PermutedStream
from supermasks.datasets import load_source
from supermasks.experiments.tasks.images import ImageTasks
from supermasks.types import TaskStream


@dataclass(frozen=True, kw_only=True)
class PermutedMNIST(ImageTasks):
    """The same ten digits in every task, under another permutation of the pixels."""

    name = "permuted-mnist"

    tasks: int = 10
    dataset: Literal["mnist", "fashion-mnist", "sample"] = "mnist"

    def stream(self, data: Path | None, seed: int) -> TaskStream:
        return PermutedStream(load_source(self.dataset, data), self.tasks, seed)
