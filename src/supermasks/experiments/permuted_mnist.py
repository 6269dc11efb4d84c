"""PermutedMNIST (SupSup, Section 4.2; Tables 3, 4, 8, 9): each task has its own permutation of the pixels."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from supermasks.data import PermutedStream, load_source
from supermasks.errors import ConfigError
from supermasks.experiments.config import Published
from supermasks.experiments.mnist import OBJECTIVES, OUTPUTS, MNISTExperiment
from supermasks.inference import TaskInference
from supermasks.learner import Learner
from supermasks.nets import NETS
from supermasks.recipes import recognisable
from supermasks.training import Progress
from supermasks.types import GNU, TaskStream

PAPER = {  # (net, outputs, objective) -> accuracy after 10 tasks
    ("lenet-300-100", 200, "H"): (0.9346, "Table 8"),
    ("lenet-300-100", 200, "G"): (0.9346, "Table 8"),
    ("lenet-300-100", 100, "H"): (0.9365, "Table 3"),
    ("lenet-300-100", 100, "G"): (0.9369, "Table 3"),
    ("lenet-300-100", 25, "H"): (0.9371, "Table 8"),
    ("lenet-300-100", 25, "G"): (0.9383, "Table 8"),
    # Figure 3 and Table 4 are for 500 outputs (Section 4.2); Table 9 has the same figures for 200.
    ("fc-1024-1024", 500, "H"): (0.9628, "Table 4"),
    ("fc-1024-1024", 500, "G"): (0.9628, "Table 4"),
    ("fc-1024-1024", 200, "H"): (0.9628, "Table 9"),
    ("fc-1024-1024", 200, "G"): (0.9628, "Table 9"),
    ("fc-1024-1024", 100, "H"): (0.9590, "Table 9"),
    ("fc-1024-1024", 100, "G"): (0.9631, "Table 9"),
    ("fc-1024-1024", 25, "H"): (0.8228, "Table 9"),
    ("fc-1024-1024", 25, "G"): (0.9631, "Table 9"),
}

SETTLED = (
    "optimiser",
    "learning_rate",
    "schedule",
    "method",
    "density",
    "transfer",
    "shared_scores",
    "inference",
    "objective",
)
"""The settings that a recipe has in place of."""


@dataclass(frozen=True, kw_only=True)
class PermutedMNIST(MNISTExperiment):
    """PermutedMNIST in scenario GNu: the task is known in training and inferred from images in testing.

    Attributes:
        recipe: the paper's settings, or those of `supermasks.recipes.recognisable`, which are more accurate.
    """

    name = "permuted-mnist"
    scenario = GNU

    tasks: int = 10
    recipe: Literal["paper", "recognisable"] = "paper"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.recipe == "recognisable" and any(getattr(self, name) != getattr(type(self), name) for name in SETTLED):
            raise ConfigError(f"recipe={self.recipe} says what {', '.join(SETTLED)} are; leave these out")

    @property
    def title(self) -> str:
        return super().title.replace(self.net, f"{self.net}-{self.recipe}") if self.recipe != "paper" else super().title

    def learner(self, tasks: TaskStream, out: Path, progress: Progress) -> Learner:
        if self.recipe == "paper":
            return super().learner(tasks, out, progress)
        outputs = OUTPUTS[self.net] if self.outputs is None else self.outputs
        return Learner(NETS[self.net](outputs), seed=self.seed, **recognisable(self.steps, self.batch_size, self.exact))

    def task_inference(self, objective: str) -> TaskInference:
        if self.recipe == "paper":
            return super().task_inference(objective)
        return replace(recognisable(exact=self.exact)["inference"], objective=OBJECTIVES[objective]())

    def stream(self, data: Path | None) -> TaskStream:
        return PermutedStream(load_source(self.dataset, data), self.tasks, self.seed)

    def evaluations(self) -> list[tuple[str, str]]:
        if self.recipe == "recognisable":
            return list(dict.fromkeys([("G", self.scoring), ("G", "first-of-batch")]))
        paper = [(objective, "first-of-batch") for objective in ("H", "G")]
        return list(dict.fromkeys([(self.objective, self.scoring), *paper]))

    def published(self) -> list[Published]:
        free = replace(self, net="lenet-300-100", outputs=None, seed=0, objective="H", scoring="each-input")
        same = free == type(self)()
        outputs = self.outputs or OUTPUTS[self.net]
        return [
            Published(
                f"SupSup (GNu {objective}), {net}, s = {s}", accuracy, objective, "first-of-batch", f"SupSup, {table}"
            )
            for (net, s, objective), (accuracy, table) in PAPER.items()
            if same and (net, s) == (self.net, outputs)
        ]
