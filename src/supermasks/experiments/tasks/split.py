"""Images where each task has different classes: SplitMNIST, SplitCIFAR and SplitImageNet."""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

from supermasks.data import ImageSource, MappedStream, SplitStream, limited
from supermasks.data.lazy import check_count
from supermasks.datasets import load_source
from supermasks.experiments.tasks.images import ImageTasks, at_hand, classes_per_task, held_out
from supermasks.experiments.tasks.source import Limits, TaskSource
from supermasks.types import TaskStream


@dataclass(frozen=True, kw_only=True)
class OrderedSplit(ImageTasks):
    """Images where each task has different classes, in their order."""

    tasks: int = 5
    validation: float = 0.0

    @property
    def holds_out(self) -> bool:
        return self.validation > 0

    def stream(self, data: Path | None, seed: int) -> TaskStream:
        return held_out(self.split(load_source(self.dataset, data)), self.validation, seed)

    def split(self, source: ImageSource) -> SplitStream:
        """Return the tasks, without validation examples."""
        return SplitStream(source, classes_per_task(source, self.tasks))

    def small(self, limits: Limits, data: Path | None) -> TaskSource:
        del limits  # five tasks are few
        return replace(self, dataset=at_hand((self.dataset, "sample"), data))


@dataclass(frozen=True, kw_only=True)
class SplitMNIST(OrderedSplit):
    """The ten digits, two a task in their order (SupSup, Section 4.2; ExSSNeT, Table 2).

    Attributes:
        shared_labels: whether all tasks share ten outputs, one for each digit (HopSupSup; SupSup, Appendix B.3).
    """

    name = "split-mnist"

    dataset: Literal["mnist", "fashion-mnist", "sample"] = "mnist"
    shared_labels: bool = False

    def split(self, source: ImageSource) -> SplitStream:
        return replace(super().split(source), shared_labels=self.shared_labels)


@dataclass(frozen=True, kw_only=True)
class SplitMNISTUnknown(SplitMNIST):
    """SplitMNIST for an experiment that must find the task of each test image."""

    name = "split-mnist-unknown"


@dataclass(frozen=True, kw_only=True)
class SplitFashion(OrderedSplit):
    """The ten kinds of clothes of Fashion-MNIST, two a task in their order."""

    name = "split-fashion"

    dataset: Literal["mnist", "fashion-mnist", "sample"] = "fashion-mnist"


@dataclass(frozen=True, kw_only=True)
class SplitCIFAR10(OrderedSplit):
    """The ten classes of CIFAR-10, two a task in their order, as most papers on continual learning split them."""

    name = "split-cifar10"

    dataset: Literal["cifar10", "mnist", "fashion-mnist", "sample"] = "cifar10"


@dataclass(frozen=True, kw_only=True)
class SplitImages(ImageTasks):
    """Images where each task has different classes, drawn at random by the seed.

    Attributes:
        classes_per_task: of each task, where not all classes are used; None divides them among the tasks.
        train_images: a random part of the training images of each task; None for all.
        validation: the fraction of the training images that is held out to select the best epoch; 0 for none.
    """

    classes_per_task: int | None = None
    train_images: int | None = None
    validation: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.train_images is not None:
            check_count("train_images", self.train_images)

    @property
    def holds_out(self) -> bool:
        return self.validation > 0

    @property
    def title(self) -> str:
        return f"{self.name}-{self.dataset}"

    def stream(self, data: Path | None, seed: int) -> TaskStream:
        source = load_source(self.dataset, data)
        each = classes_per_task(source, self.tasks) if self.classes_per_task is None else self.classes_per_task
        stream: TaskStream = SplitStream(source, each, seed, self.tasks)
        if self.train_images is not None:
            stream = MappedStream(stream, partial(limited, train=self.train_images, seed=seed))
        return held_out(stream, self.validation, seed)

    def small(self, limits: Limits, data: Path | None) -> TaskSource:
        """Return the classes of CIFAR-10, or of the embedded sample, divided among the tasks."""
        return SplitCIFAR(
            tasks=(tasks := min(self.tasks, limits.tasks, 5)),
            dataset="cifar10" if at_hand(("cifar10", "sample"), data) == "cifar10" else "sample",
            classes_per_task=10 // tasks,
            train_images=limits.examples,
        )


@dataclass(frozen=True, kw_only=True)
class SplitCIFAR(SplitImages):
    """Small images: 20 tasks of 5 classes of CIFAR-100 (SupSup, Section 4.1); also CIFAR-10 and sketches."""

    name = "split-cifar"

    tasks: int = 20
    dataset: Literal["cifar100", "cifar10", "quickdraw", "mnist", "fashion-mnist", "sample"] = "cifar100"


@dataclass(frozen=True, kw_only=True)
class SplitImageNet(SplitImages):
    """Photographs: 100 tasks of 10 classes of ImageNet (SupSup, Section 4.1); also TinyImageNet."""

    name = "split-imagenet"

    tasks: int = 100
    dataset: Literal["imagenet", "tiny-imagenet"] = "imagenet"


@dataclass(frozen=True, kw_only=True)
class ClassIncremental(SplitImages):
    """10 tasks of 20 classes of TinyImageNet, to be told apart without the task (ExSSNeT, Appendix A.4.3)."""

    name = "class-incremental"

    tasks: int = 10
    dataset: Literal["tiny-imagenet", "cifar100", "cifar10", "quickdraw", "mnist", "fashion-mnist", "sample"] = (
        "tiny-imagenet"
    )
