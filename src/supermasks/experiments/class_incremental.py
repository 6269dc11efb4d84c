"""Class-incremental learning (ExSSNeT, Appendix A.4.3): nobody tells which task an image belongs to."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from supermasks.errors import ConfigError
from supermasks.experiments.config import Published
from supermasks.experiments.mnist import INFERENCES, OBJECTIVES
from supermasks.experiments.split_images import SplitImages, Way
from supermasks.inference import TaskInference
from supermasks.types import GNU, TaskStream

TABLE_12 = {"supsup": 0.1027, "exssnet": 0.1121}


@dataclass(frozen=True, kw_only=True)
class ClassIncremental(SplitImages):
    """Images of which each task has other classes, in scenario GNu: One-Shot finds the task; TinyImageNet, 10 x 20.

    Attributes:
        outputs: real and superfluous neurons together; None for as many as a task has classes.
        inference: how the task of test images is found.
        objective: entropy H, superfluous neurons G, or maximal probability M.
        scoring: whether each image finds its task by itself, the first of a batch for all, or all together.
    """

    name: ClassVar[str] = "class-incremental"
    scenario = GNU

    tasks: int = 10
    dataset: Literal["tiny-imagenet", "cifar100", "cifar10", "quickdraw", "mnist", "fashion-mnist", "sample"] = (
        "tiny-imagenet"
    )
    net: Literal["resnet-18", "resnet-50", "conv-4", "conv-6", "lenet-5"] = "resnet-50"
    method: Way = "exssnet"
    density: float | None = 0.1
    epochs: float = 60
    outputs: int | None = None
    inference: Literal["one-shot", "two-shot", "binary", "top-gamma", "gradient-descent", "exhaustive"] = "one-shot"
    objective: Literal["H", "G", "M"] = "H"
    scoring: Literal["each-input", "first-of-batch", "full-batch"] = "each-input"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.method in ("separate-heads", "separate-heads-random", "sequential"):
            raise ConfigError(f"the tasks of method {self.method!r} have heads of their own, which are not superposed")

    def evaluations(self) -> list[tuple[str, str]]:
        return [(self.objective, self.scoring)]

    def task_inference(self, objective: str) -> TaskInference:
        return INFERENCES[self.inference](OBJECTIVES[objective]())

    def outputs_for(self, tasks: TaskStream) -> int:
        classes = super().outputs_for(tasks)
        if self.outputs is not None and self.outputs < classes:
            raise ConfigError(f"each task has {classes} classes, which need as many outputs, but {self.outputs} came")
        return classes if self.outputs is None else self.outputs

    def published(self) -> list[Published]:
        if self != type(self)(seed=self.seed, method=self.method) or self.method not in TABLE_12:
            return []
        what = f"{self.method} (class-incremental)"
        return [Published(what, TABLE_12[self.method], "H", "each-input", "ExSSNeT, Table 12")]
