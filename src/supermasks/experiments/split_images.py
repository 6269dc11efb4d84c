"""SplitCIFAR and SplitImageNet (SupSup, Section 4.1): masks beside other ways to keep tasks of other classes apart."""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from supermasks.bases import PretrainedBase, RandomBase
from supermasks.data import MappedStream, SplitStream, limited, with_validation
from supermasks.data.lazy import check_count
from supermasks.datasets import load_source
from supermasks.errors import ConfigError
from supermasks.experiments.config import Experiment, Published, classes_per_task
from supermasks.experiments.masked import (
    INDIVIDUAL,
    MASKED,
    Transfer,
    WeightOptimiser,
    check_heeded,
    initial_scores,
    masked_method,
    name_of_weights,
    optimisers,
)
from supermasks.learner import Learner
from supermasks.masks import ER, TopK
from supermasks.methods import Individual, SupSup
from supermasks.nets import NETS, resnet18, resnet50
from supermasks.network import Network
from supermasks.owned import Precision
from supermasks.training import CropAndFlip, Progress, Training
from supermasks.types import GG, TaskStream

BUDGETS = (1, 2, 4, 8, 16, 32)
TRUNK = "trunk.safetensors"

Way = Literal[
    "supsup",
    "ssnet",
    "exssnet",
    "individual",
    "individual-warm",
    "separate-heads",
    "separate-heads-random",
    "sequential",
]

# SupSup, Table 2: accuracies on 20 tasks of CIFAR-100 by budget, without and with Transfer, and of the others.
TABLE_2 = {
    "none": (0.7756, 0.8362, 0.8645, 0.8809, 0.8906, 0.8957),
    "scores": (0.7953, 0.8533, 0.8852, 0.9012, 0.9131, 0.9166),
}
TABLE_2_OTHERS = {"individual-warm": 0.9162, "separate-heads": 0.7060, "separate-heads-random": 0.5000}


# ExSSNeT, Table 3: accuracies on 5 tasks of CIFAR-100, without and with KKT.
EXSSNET_TABLE_3 = {
    ("supsup", "none"): 0.621,
    ("supsup", "kkt"): 0.671,
    ("ssnet", "none"): 0.239,
    ("ssnet", "kkt"): 0.235,
    ("exssnet", "none"): 0.673,
    ("exssnet", "kkt"): 0.705,
}


@dataclass(frozen=True, kw_only=True)
class SplitImages(Experiment):
    """The settings of a run on images of which each task has other classes; the defaults are the paper's.

    Attributes:
        method: SupSup; SSNeT or ExSSNeT, which also train weights that a mask selects; individually trained networks,
            each from the base or warm from the one before (the paper's upper bound); a head a task over the trunk of
            the first task, or over a random one; or one trunk that is trained on and on, with a head a task (the
            lower bound, which forgets).
        budget: of the masks, in weights kept for each neuron of a layer (ER); SupSup's six.
        density: of the masks, the same in each layer, in place of the budget.
        transfer: what scores begin with: at random, or with the mean of earlier masks (as the paper says), or of
            earlier scores (as its code does), or with the mask of the nearest earlier task (ExSSNeT's KKT).
        neighbours: of KKT, that vote (ExSSNeT, Table 9).
        kkt_examples: training images that KKT looks at (Table 10 has batches of 64).
        weights: in which precision SSNeT and ExSSNeT keep what they train.
        together: whether these train weights in the same steps as the mask, not after it as in the paper.
        mask_share: the share of the epochs in which these find the mask; the weights have the rest.
        weight_rate: the learning rate of these weights, or of individually trained networks, as a multiple.
        weight_optimiser: of the same: Adam, or descent with Nesterov's momentum and weight decay, which then wants a
            multiple of about 100.
        net: the backbone.
        width: channels of the stem and the first stage of ResNet-18.
        classes_per_task: of each task, where not all classes are to be used; None divides them among the tasks.
        epochs: passes over the training images of a task.
        later_epochs: of the tasks after the first, where Transfer or KKT is to save some (SupSup, Figure 11; ExSSNeT,
            Figure 4).
        train_images: a random part of the training images of each task; None for all.
        validation: the fraction of the training images by which the best epoch is selected; 0 for none.
        augment: whether training images are randomly shifted and mirrored.
        shift: of augmented images, at most so many pixels up or down and left or right; 0 only mirrors them, which
            is enough where a training is short.
        batch_size: training images a step.
        learning_rate: of Adam, at its largest.
        warmup: the fraction of the training over which the learning rate rises.
        precision: of the products in training; masks and accuracies are always computed in float32.
        statistics_batches: over which the statistics of batch normalisation are measured anew after the training; 0
            keeps the running ones, as the paper does.
        statistics_precision: in which these are kept; the record tells what float16 changes.
        device: where to compute, such as "cuda".
    """

    method: Way = "supsup"
    budget: Literal[1, 2, 4, 8, 16, 32] = 32
    density: float | None = None
    transfer: Transfer = "none"
    neighbours: int = 10
    kkt_examples: int = 640
    weights: Precision = "float32"
    together: bool = False
    mask_share: float = 0.5
    weight_rate: float = 1.0
    weight_optimiser: WeightOptimiser = "adam"
    net: Literal["resnet-18", "resnet-50", "conv-4", "conv-6", "lenet-5"] = "resnet-18"
    width: int = 20
    classes_per_task: int | None = None
    epochs: float = 250
    later_epochs: float | None = None
    train_images: int | None = None
    validation: float = 0.0
    augment: bool = False
    shift: int = CropAndFlip.padding
    batch_size: int = 128
    learning_rate: float = 1e-3
    warmup: float = 0.0
    precision: Literal["float32", "bfloat16"] = "float32"
    statistics_batches: int = 0
    statistics_precision: Literal["float32", "float16"] = "float32"
    device: str = "cpu"

    def __post_init__(self) -> None:
        check_heeded(self)
        CropAndFlip(self.shift)  # refuses a number below 0
        if self.shift != CropAndFlip.padding and not self.augment:
            raise ConfigError(f"images are shifted by {self.shift} pixels only where they are augmented; add augment")
        if self.train_images is not None:
            check_count("train_images", self.train_images)
        if self.later_epochs is not None and self.forgets:
            raise ConfigError("the lower bound trains all tasks alike; leave out later-epochs")

    @property
    def title(self) -> str:
        kept = f"er{self.budget}" if self.density is None else f"density{self.density}"
        masks = f"-{kept}-transfer-{self.transfer}" if self.method in MASKED else ""
        weights = name_of_weights(self.together, self.weight_rate, self.weights, self.weight_optimiser)
        return f"{self.name}-{self.dataset}-{self.method}{masks}{weights}-seed{self.seed}"

    def training(self, usual: Training, index: int) -> Training:
        return usual if self.later_epochs is None or index == 0 else replace(usual, epochs=self.later_epochs)

    @property
    def forgets(self) -> bool:
        return self.method == "sequential"

    @property
    def trains_first(self) -> bool:
        return self.method == "separate-heads"

    def stream(self, data: Path | None) -> TaskStream:
        source = load_source(self.dataset, data)
        each = classes_per_task(source, self.tasks) if self.classes_per_task is None else self.classes_per_task
        stream: TaskStream = SplitStream(source, each, self.seed, self.tasks)
        if self.train_images is not None:
            stream = MappedStream(stream, partial(limited, train=self.train_images, seed=self.seed))
        if self.validation:
            stream = MappedStream(stream, partial(with_validation, fraction=self.validation, seed=self.seed))
        return stream

    def learner(self, tasks: TaskStream, out: Path, progress: Progress) -> Learner:
        module = self.backbone(self.outputs_for(tasks), tasks[0].train.shape)
        network = partial(Network, device=self.device, channels_last=True)
        if self.method in MASKED:
            rule = TopK(ER(self.budget) if self.density is None else self.density)
            method = masked_method(
                self.method,
                rule,
                initial_scores(self.transfer, self.neighbours, self.kkt_examples),
                self.weights,
                self.together,
                self.mask_share,
            )
            return self._learner(network(module, RandomBase(self.seed)), method)
        if self.method in INDIVIDUAL:
            return self._learner(network(module, RandomBase(self.seed)), Individual(warm=self.method.endswith("warm")))
        head = next(reversed([name for name, layer in module.named_modules() if isinstance(layer, nn.Linear)]))
        if self.method == "sequential":
            return self._learner(network(module, RandomBase(self.seed), head=head))
        if self.method == "separate-heads-random":
            return self._learner(network(module, RandomBase(self.seed), select=[], head=head))
        trunk = self._trunk(module, tasks, out, progress)
        base = PretrainedBase(f"trunk trained on {tasks[0].name}, {out / TRUNK}")
        return self._learner(network(trunk, base, select=[], head=head))

    def outputs_for(self, tasks: TaskStream) -> int:
        """Return how many outputs the network has for these tasks: as many as one has classes."""
        return len(tasks[0].classes)

    def backbone(self, outputs: int, shape: tuple[int, ...]) -> nn.Module:
        """Return the network for images of this shape."""
        channels, size = shape[0], shape[-1]
        if self.net == "resnet-18":
            return resnet18(outputs, self.width, channels)
        if self.net == "resnet-50":
            return resnet50(outputs, "imagenet" if size > 64 else "tiny-imagenet", channels)
        return NETS[self.net](outputs, channels, size)

    def _learner(self, network: Network, method: SupSup | Individual | None = None) -> Learner:
        of_all, of_weights = optimisers(self.method, self.weight_optimiser, self.learning_rate, self.weight_rate)
        training = Training(
            epochs=self.epochs,
            batch_size=self.batch_size,
            optimiser=of_all,
            weight_optimiser=of_weights,
            schedule="cosine",
            warmup=self.warmup,
            precision=self.precision,
            augmentation=CropAndFlip(self.shift) if self.augment else None,
            select_best=self.validation > 0,
            statistics_batches=self.statistics_batches,
            statistics_precision=self.statistics_precision,
        )
        return Learner(network, seed=self.seed, method=method, training=training)

    def _trunk(self, module: nn.Module, tasks: TaskStream, out: Path, progress: Progress) -> nn.Module:
        """Return the backbone with the weights that a network trained on the first task alone has."""
        path = out / TRUNK
        network = Network(module, RandomBase(self.seed), device=self.device, channels_last=True)
        first = self._learner(network, Individual())
        if not path.exists():
            first.learn(tasks[0], progress)
            out.mkdir(parents=True, exist_ok=True)
            partial_file = path.with_name(path.name + ".partial")
            save_file(first.network.effective(first.bank[tasks[0].name]), partial_file)
            partial_file.replace(path)
        values = load_file(path)
        with torch.no_grad():
            for name, parameter in module.named_parameters():
                parameter.copy_(values[name])
        return module


@dataclass(frozen=True, kw_only=True)
class SplitCIFAR(SplitImages):
    """SplitCIFAR-100 in scenario GG: 20 tasks of 5 random classes; also CIFAR-10 and sketches, and other numbers."""

    name: ClassVar[str] = "split-cifar"
    scenario = GG

    tasks: int = 20
    dataset: Literal["cifar100", "cifar10", "quickdraw", "mnist", "fashion-mnist", "sample"] = "cifar100"

    def published(self) -> list[Published]:
        if self == replace(EXSSNET_CIFAR, seed=self.seed, method=self.method, transfer=self.transfer):
            accuracy = EXSSNET_TABLE_3.get((self.method, self.transfer))
            kkt = " + KKT" if self.transfer == "kkt" else ""
            return [Published(f"{self.method}{kkt}", accuracy, None, None, "ExSSNeT, Table 3")] if accuracy else []
        same = SplitCIFAR(seed=self.seed, method=self.method, budget=self.budget, transfer=self.transfer)
        if self != same:
            return []
        source = "SupSup, Table 2"
        if self.method == "supsup" and self.transfer in TABLE_2:
            accuracy = TABLE_2[self.transfer][BUDGETS.index(self.budget)]
            with_transfer = " Transfer" if self.transfer == "scores" else ""
            return [Published(f"SupSup (GG){with_transfer}, budget {self.budget}", accuracy, None, None, source)]
        if self.method in TABLE_2_OTHERS:
            return [Published(f"{self.method} (GG)", TABLE_2_OTHERS[self.method], None, None, source)]
        return []


EXSSNET_CIFAR = SplitCIFAR(tasks=5, density=0.1, epochs=200)
"""The settings of ExSSNeT's Tables 2 and 3 on CIFAR-100: 100 epochs for the mask and 100 for the weights."""


@dataclass(frozen=True, kw_only=True)
class SplitImageNet(SplitImages):
    """SplitImageNet in scenario GG: 100 tasks of 10 random classes, ResNet-50; also TinyImageNet."""

    name: ClassVar[str] = "split-imagenet"
    scenario = GG

    tasks: int = 100
    dataset: Literal["imagenet", "tiny-imagenet"] = "imagenet"
    net: Literal["resnet-18", "resnet-50", "conv-4", "conv-6", "lenet-5"] = "resnet-50"
    epochs: float = 100
    batch_size: int = 256
    warmup: float = 0.05
