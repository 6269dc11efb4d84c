"""SplitMNIST (SupSup, Section 4.2; ExSSNeT, Table 2): the ten digits, two a task."""

from dataclasses import dataclass, replace
from pathlib import Path

from supermasks.data import SplitStream
from supermasks.datasets import load_source
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
        of_exssnet = replace(EXSSNET_MNIST, seed=self.seed, method=self.method, transfer=self.transfer)
        if self.method != "supsup" and replace(self, density=0.1) == of_exssnet:
            accuracy = 0.993 if (self.method, self.transfer) == ("ssnet", "kkt") else 0.997
            return [Published(f"{self.method}, transfer {self.transfer}", accuracy, None, None, "ExSSNeT, Table 3")]
        if self != type(self)(seed=self.seed):
            return []
        return [Published("SupSup (GG), other training settings", 0.996, None, None, "ExSSNeT, Table 2")]


EXSSNET_MNIST = SplitMNIST(density=0.1, steps=5640, optimiser="adam", learning_rate=1e-3, schedule="cosine")
"""The settings of ExSSNeT's Tables 2 and 3: 30 epochs for the mask and 30 for the weights."""
