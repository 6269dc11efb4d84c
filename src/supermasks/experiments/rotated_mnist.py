"""RotatedMNIST (SupSup, Section 4.2; Table 6): 36 tasks, each turned 10 degrees further."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from supermasks.data import RotatedStream
from supermasks.datasets import load_source
from supermasks.experiments.config import Published
from supermasks.experiments.mnist import MNISTExperiment
from supermasks.types import GNU, TaskStream


@dataclass(frozen=True, kw_only=True)
class RotatedMNIST(MNISTExperiment):
    """RotatedMNIST in scenario GNu: Binary finds the task from a full batch of 128 images.

    The scores of all tasks begin with the same random numbers: neighbouring angles are then told apart by what they
    learned, not by what they began with. In the paper each task begins with its own, as by `--no-shared-scores`.
    """

    name = "rotated-mnist"
    scenario = GNU

    tasks: int = 36
    net: Literal["lenet-300-100", "fc-1024-1024"] = "fc-1024-1024"
    outputs: int | None = 200
    shared_scores: bool = True
    inference: Literal["one-shot", "two-shot", "binary", "top-gamma", "gradient-descent", "exhaustive"] = "binary"
    scoring: Literal["each-input", "first-of-batch", "full-batch"] = "full-batch"

    def stream(self, data: Path | None) -> TaskStream:
        return RotatedStream(load_source(self.dataset, data), self.tasks)

    def evaluations(self) -> list[tuple[str, str]]:
        return [(self.objective, self.scoring)]

    def published(self) -> list[Published]:
        if self != type(self)(seed=self.seed):
            return []
        return [Published("SupSup (GNu full batch H)", 0.9613, "H", "full-batch", "SupSup, Table 6")]
