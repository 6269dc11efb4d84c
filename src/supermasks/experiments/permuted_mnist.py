"""PermutedMNIST (SupSup, Section 4.2; Tables 3, 4, 8, 9): each task has its own permutation of the pixels."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from supermasks.data import PermutedStream
from supermasks.datasets import load_source
from supermasks.errors import ConfigError
from supermasks.experiments.config import Published
from supermasks.experiments.mnist import OBJECTIVES, OUTPUTS, MNISTExperiment
from supermasks.inference import TaskInference
from supermasks.inference.calibration import LEAST_TASKS
from supermasks.learner import Learner
from supermasks.nets import NETS
from supermasks.recipes import recognisable
from supermasks.training import Progress
from supermasks.types import GNU, TaskStream

FIRST, LATER = (10, 50, 100, 150, 200, 250), (500, 1000, 1500, 2000, 2500)
PAPER = {  # (net, outputs, objective) -> accuracy in percent after so many tasks
    ("lenet-300-100", 200, "H"): (FIRST, (93.46, 93.49, 93.48, 93.47, 93.47, 93.46), "Table 8"),
    ("lenet-300-100", 200, "G"): (FIRST, (93.46, 93.48, 93.47, 93.47, 93.47, 93.46), "Table 8"),
    ("lenet-300-100", 100, "H"): (FIRST, (93.65, 93.68, 93.68, 93.66, 93.64, 93.62), "Table 3"),
    ("lenet-300-100", 100, "G"): (FIRST, (93.69, 93.67, 93.67, 93.66, 93.65, 93.63), "Table 3"),
    ("lenet-300-100", 25, "H"): (FIRST, (93.71, 93.51, 93.28, 93.10, 93.06, 92.94), "Table 8"),
    ("lenet-300-100", 25, "G"): (FIRST, (93.83, 93.66, 93.60, 93.48, 93.43, 93.36), "Table 8"),
    ("lenet-300-100", 500, "H"): (LATER, (93.49, 93.47, 93.46, 93.45, 93.45), "Table 5"),
    ("lenet-300-100", 500, "G"): (LATER, (93.49, 93.48, 93.46, 93.45, 93.45), "Table 5"),
    # Figure 3 and Table 4 are for 500 outputs (Section 4.2); Table 9 has the same figures for 200.
    ("fc-1024-1024", 500, "H"): (FIRST, (96.28, 96.14, 96.04, 95.91, 95.86, 95.66), "Table 4"),
    ("fc-1024-1024", 500, "G"): (FIRST, (96.28, 96.19, 96.05, 96.00, 95.99, 95.92), "Table 4"),
    ("fc-1024-1024", 200, "H"): (FIRST, (96.28, 96.14, 96.04, 95.91, 95.86, 95.66), "Table 9"),
    ("fc-1024-1024", 200, "G"): (FIRST, (96.28, 96.19, 96.05, 96.00, 95.99, 95.92), "Table 9"),
    ("fc-1024-1024", 100, "H"): (FIRST, (95.90, 94.77, 94.02, 93.71, 93.00, 92.84), "Table 9"),
    ("fc-1024-1024", 100, "G"): (FIRST, (96.31, 95.83, 95.60, 95.32, 95.05, 94.88), "Table 9"),
    ("fc-1024-1024", 25, "H"): (FIRST, (82.28, 69.06, 64.51, 60.99, 58.15, 57.03), "Table 9"),
    ("fc-1024-1024", 25, "G"): (FIRST, (96.31, 93.17, 91.20, 90.26, 89.04, 88.19), "Table 9"),
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
    "centred",
    "objective",
)
"""The settings that a recipe has in place of."""


@dataclass(frozen=True, kw_only=True)
class PermutedMNIST(MNISTExperiment):
    """PermutedMNIST in scenario GNu: the task is known in training and inferred from images in testing.

    Attributes:
        recipe: the paper's settings, or those of `supermasks.recipes.recognisable`, which are more accurate.
        checkpoint_images: how many test images of each task are judged at checkpoints before the last, all if None:
            2,500 tasks take hours at all of the paper's checkpoints, and some images of so many tasks say enough.
        foreign: images that are of no task, which a learner that is calibrated is to call unknown; None measures none.
    """

    name = "permuted-mnist"
    scenario = GNU

    tasks: int = 10
    recipe: Literal["paper", "recognisable"] = "paper"
    checkpoint_images: int | None = None
    foreign: Literal["mnist", "fashion-mnist", "sample"] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.checkpoint_images is not None and self.checkpoint_images < 1:
            raise ConfigError(f"at least 1 image is judged, but checkpoint_images={self.checkpoint_images} came")
        if self.foreign is not None and self.tasks < LEAST_TASKS:
            raise ConfigError(f"to call images unknown takes {LEAST_TASKS} tasks at least, but tasks={self.tasks} came")
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

    def judged(self, count: int) -> int | None:
        return self.checkpoint_images if count < self.tasks else None

    def foreign_inputs(self, data: Path | None) -> Tensor | None:
        if self.foreign is None:
            return None
        inputs = load_source(self.foreign, data).test_inputs
        return inputs if isinstance(inputs, Tensor) else inputs[torch.arange(len(inputs))]

    def evaluations(self) -> list[tuple[str, str]]:
        if self.recipe == "recognisable":
            return list(dict.fromkeys([("G", self.scoring), ("G", "first-of-batch")]))
        paper = [(objective, "first-of-batch") for objective in ("H", "G")]
        return list(dict.fromkeys([(self.objective, self.scoring), *paper]))

    def published(self) -> list[Published]:
        free = replace(
            self,
            net="lenet-300-100",
            outputs=None,
            seed=0,
            objective="H",
            scoring="each-input",
            tasks=10,
            exact=True,
            checkpoint_images=None,
            foreign=None,
        )
        outputs = self.outputs or OUTPUTS[self.net]
        return [
            Published(
                f"SupSup (GNu {objective}), {net}, s = {s}, {self.tasks} tasks",
                round(percents[counts.index(self.tasks)] / 100, 4),
                objective,
                "first-of-batch",
                f"SupSup, {table}",
            )
            for (net, s, objective), (counts, percents, table) in PAPER.items()
            if free == type(self)() and (net, s) == (self.net, outputs) and self.tasks in counts
        ]
