"""What the experiments on MNIST share: fully connected networks, trained by steps, and task inference."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from supermasks.errors import ConfigError
from supermasks.evaluation import EachInput, FirstOfBatch, FullBatch, Scoring
from supermasks.experiments.config import Experiment
from supermasks.experiments.masked import TRAINING_WEIGHTS, Transfer, check_heeded, initial_scores, masked_method
from supermasks.inference import (
    Binary,
    Entropy,
    Exhaustive,
    GradientDescent,
    MaxProbability,
    Objective,
    OneShot,
    SuperfluousNeurons,
    TaskInference,
    TopGamma,
    TwoShot,
)
from supermasks.learner import Learner
from supermasks.masks import Threshold, TopK
from supermasks.nets import NETS
from supermasks.owned import Precision
from supermasks.scores import KaimingUniform
from supermasks.training import Adam, Progress, RMSprop, Training
from supermasks.types import TaskStream

OUTPUTS = {"lenet-300-100": 100, "fc-1024-1024": 500}
OPTIMISERS = {"rmsprop": RMSprop, "adam": Adam}
INFERENCES: dict[str, type[OneShot] | type[Binary] | type[TopGamma] | type[GradientDescent] | type[Exhaustive]] = {
    "one-shot": OneShot,
    "two-shot": TwoShot,
    "binary": Binary,
    "top-gamma": TopGamma,
    "gradient-descent": GradientDescent,
    "exhaustive": Exhaustive,
}
OBJECTIVES: dict[str, type[Objective]] = {"H": Entropy, "G": SuperfluousNeurons, "M": MaxProbability}
SCORINGS: dict[str, type[Scoring]] = {"each-input": EachInput, "first-of-batch": FirstOfBatch, "full-batch": FullBatch}


@dataclass(frozen=True, kw_only=True)
class MNISTExperiment(Experiment):
    """The settings of a run on MNIST; the defaults are the paper's.

    Attributes:
        net: the backbone.
        outputs: real and superfluous neurons together; by default 100 for LeNet 300-100, 500 for FC 1024-1024.
        dataset: "sample" is embedded in the package, the others are read from files.
        steps: optimiser steps a task.
        batch_size: training examples a step.
        optimiser: of the scores.
        learning_rate: of the optimiser.
        schedule: of the learning rate over a task.
        method: SupSup; SSNeT or ExSSNeT, which also train weights that a mask selects.
        density: fraction of weights kept a layer, by top-k; None for the threshold rule, or 0.1 where weights are
            trained.
        transfer: what scores begin with: at random, the mean of earlier masks or scores, or the mask of the nearest
            earlier task (KKT).
        weights: in which precision SSNeT and ExSSNeT keep what they train.
        together: whether these train weights in the same steps as the mask, not after it as in the paper.
        mask_share: the share of the steps in which these find the mask; the weights have the rest.
        shared_scores: scores of all tasks begin with the same random numbers, not each with its own.
        inference: how the task of test inputs is found.
        gamma: the share of the tasks that top-gamma keeps in each round.
        exact: whether one-shot and two-shot look at all tasks by all weights, or make a shortlist first.
        centred: whether one-shot and two-shot leave out what all weights into a neuron share; this finds more.
        objective: entropy H, superfluous neurons G, or maximal probability M.
        scoring: whether each input finds its task by itself, the first of a batch for all, or all together.
    """

    dataset: Literal["mnist", "fashion-mnist", "sample"] = "mnist"
    net: Literal["lenet-300-100", "fc-1024-1024"] = "lenet-300-100"
    outputs: int | None = None
    steps: int = 1000
    batch_size: int = 128
    optimiser: Literal["rmsprop", "adam"] = "rmsprop"
    learning_rate: float = 1e-4
    schedule: Literal["constant", "cosine"] = "constant"
    method: Literal["supsup", "ssnet", "exssnet"] = "supsup"
    density: float | None = None
    transfer: Transfer = "none"
    weights: Precision = "float32"
    together: bool = False
    mask_share: float = 0.5
    shared_scores: bool = False
    inference: Literal["one-shot", "two-shot", "binary", "top-gamma", "gradient-descent", "exhaustive"] = "one-shot"
    gamma: float = 0.25
    exact: bool = True
    centred: bool = False
    objective: Literal["H", "G", "M"] = "H"
    scoring: Literal["each-input", "first-of-batch", "full-batch"] = "each-input"

    def __post_init__(self) -> None:
        check_heeded(self)

    @property
    def title(self) -> str:
        method = "" if self.method == "supsup" else f"-{self.method}"
        transfer = "" if self.transfer == "none" else f"-transfer-{self.transfer}"
        weights = ("-together" if self.together else "") + ("" if self.weights == "float32" else f"-{self.weights}")
        return f"{self.name}-{self.net}{method}{transfer}{weights}-seed{self.seed}"

    def learner(self, tasks: TaskStream, out: Path, progress: Progress) -> Learner:
        del tasks, out, progress  # nothing is trained before the first task
        outputs = OUTPUTS[self.net] if self.outputs is None else self.outputs
        optimiser = OPTIMISERS[self.optimiser](self.learning_rate)
        if self.shared_scores and self.transfer != "none":
            raise ConfigError("scores begin alike in all tasks, or with what earlier tasks learned; choose one")
        density = 0.1 if self.density is None and self.method in TRAINING_WEIGHTS else self.density
        rule = Threshold() if density is None else TopK(density)
        initial = KaimingUniform(shared=True) if self.shared_scores else initial_scores(self.transfer)
        return Learner(
            NETS[self.net](outputs),
            seed=self.seed,
            method=masked_method(self.method, rule, initial, self.weights, self.together, self.mask_share),
            training=Training(self.steps, self.batch_size, optimiser, self.schedule),
            inference=self.task_inference(self.objective),
        )

    def task_inference(self, objective: str) -> TaskInference:
        of = OBJECTIVES[objective]()
        kind = INFERENCES[self.inference]
        if issubclass(kind, OneShot):
            return kind(of, self.exact, centred=self.centred)
        if self.centred or not self.exact:
            what = "gradients are centred" if self.centred else "a shortlist is made"
            raise ConfigError(f"{what} for one-shot and two-shot only, but inference={self.inference} came")
        return TopGamma(of, self.gamma) if kind is TopGamma else kind(of)
