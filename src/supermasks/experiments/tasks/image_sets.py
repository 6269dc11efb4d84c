"""Tasks of images in colour, for a pretrained network."""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

from supermasks.data import SplitStream, rgb
from supermasks.data.lazy import check_count
from supermasks.datasets import load_source
from supermasks.experiments.tasks.data_sets import DataSetTasks, at_most
from supermasks.experiments.tasks.images import all_at_hand, held_out
from supermasks.experiments.tasks.source import Limits, TaskSource
from supermasks.types import Task, TaskStream

InMemory = Literal["cifar10", "cifar100", "fashion-mnist", "mnist", "quickdraw", "sample"]


@dataclass(frozen=True, kw_only=True)
class ImageSets(DataSetTasks):
    """One data set of images a task, all as colour images of 32 x 32 pixels from 0 to 1.

    Attributes:
        datasets: by name.
        classes: at most so many classes of each data set, chosen at random; None for all.
        train_images: at most so many of the training images of each task, chosen at random; None for all.
        test_images: at most so many of the test images of each task, chosen at random; None for all.

    Raises:
        ConfigError: a number is not positive.
    """

    name = "pretrained-images"

    datasets: tuple[InMemory, ...] = ("cifar10", "fashion-mnist", "mnist", "quickdraw")
    classes: int | None = 20
    train_images: int | None = None
    test_images: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for what in ("classes", "train_images", "test_images"):
            if (value := getattr(self, what)) is not None:
                check_count(what, value)

    def stream(self, data: Path | None, seed: int) -> TaskStream:
        return held_out(tuple(self._task(name, data, seed) for name in self.datasets), self.validation, seed)

    def small(self, limits: Limits, data: Path | None) -> TaskSource:
        few = replace(self, datasets=all_at_hand(self.datasets, data)[: limits.tasks])
        return replace(few, train_images=limits.examples, test_images=limits.examples)

    def _task(self, name: str, data: Path | None, seed: int) -> Task:
        source = load_source(name, data)
        count = len(source.classes) if self.classes is None else min(self.classes, len(source.classes))
        every = count == len(source.classes)
        task = replace(SplitStream(source, count, None if every else seed, tasks=1)[0], name=name)
        task = at_most(task, self.train_images, self.test_images, seed, "images")
        seen = partial(replace, view=rgb(source))
        return replace(task, train=seen(task.train), test=None if task.test is None else seen(task.test))
