"""SplitMNIST (SupSup, Section 4.2; ExSSNeT, Table 2): the ten digits, two a task."""

from dataclasses import dataclass
from pathlib import Path

from supermasks.data import SplitStream, load_source
from supermasks.experiments.config import Published, classes_per_task
from supermasks.experiments.mnist import MNISTExperiment
from supermasks.types import GG, TaskStream


@dataclass(frozen=True, kw_only=True)
class SplitMNIST(MNISTExperiment):
    """SplitMNIST in scenario GG: the task is given in training and in testing."""

    name = "split-mnist"
    scenario = GG

    tasks: int = 5

    def stream(self, data: Path | None) -> TaskStream:
        source = load_source(self.dataset, data)
        return SplitStream(source, classes_per_task(source, self.tasks))

    def published(self) -> list[Published]:
        if self != type(self)(seed=self.seed):
            return []
        return [Published("SupSup (GG), other training settings", 0.996, None, None, "ExSSNeT, Table 2")]
