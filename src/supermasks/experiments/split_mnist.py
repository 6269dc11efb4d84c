"""SplitMNIST (SupSup, Section 4.2; ExSSNeT, Table 2): the ten digits, two a task."""

from dataclasses import dataclass

from supermasks.data import ImageSource, SplitStream
from supermasks.errors import ConfigError
from supermasks.experiments.config import Experiment, Published
from supermasks.types import GG, TaskStream


@dataclass(frozen=True, kw_only=True)
class SplitMNIST(Experiment):
    """SplitMNIST in scenario GG: the task is given in training and in testing."""

    name = "split-mnist"
    scenario = GG

    tasks: int = 5

    def stream(self, source: ImageSource) -> TaskStream:
        if len(source.classes) % self.tasks:
            raise ConfigError(f"{len(source.classes)} classes do not divide into {self.tasks} tasks; choose a divisor")
        return SplitStream(source, len(source.classes) // self.tasks)

    def evaluations(self) -> list[tuple[str, str]]:
        return []

    def published(self) -> list[Published]:
        if self != type(self)(seed=self.seed):
            return []
        return [Published("SupSup (GG), other training settings", 0.996, None, None, "ExSSNeT, Table 2")]
