"""How long and with what a task is trained."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import ceil, inf
from typing import Literal, get_args

import torch
from torch import Tensor

from supermasks.errors import ConfigError
from supermasks.training.augmentation import Augmentation
from supermasks.training.optimisers import Optimiser, RMSprop
from supermasks.training.schedule import Schedule, rate_factor

Precision = Literal["float32", "bfloat16"]

DEFAULT_STEPS = 1000


@dataclass(frozen=True)
class Training:
    """How long and with what a task is trained; the defaults are SupSup's on MNIST (Section 4.2).

    Attributes:
        steps: optimiser steps a task; 1000 where neither steps nor epochs are given, None where epochs are.
        batch_size: examples a step; a shuffled epoch follows the other without gaps.
        optimiser: makes the steps.
        schedule: of the learning rate, "constant" or "cosine" (to 0 at the last step).
        epochs: in place of steps, how often each example is seen, any positive number; see `total_steps`.
        warmup: the fraction of all steps, from the first on, over which the learning rate rises linearly from 0.
        accumulate: the batch is computed in this many parts, one after the other, so that it needs less memory; the
            step is that of the whole batch. Batch normalisation uses the statistics of the parts.
        precision: of the products in the network; with "bfloat16" (autocast) what is trained, the loss and the
            accuracy on validation examples remain float32.
        augmentation: changes each training input at random; None leaves them as they are.
        head_rate: the learning rate of a head that each task has of its own, as a multiple of that of all else.
        head_first: the fraction of all steps, from the first on, in which only heads are trained: gradients through a
            head that knows nothing yet would drive pretrained features apart.
        statistics_batches: after the training, the statistics of batch normalisation are measured anew over so many
            batches, with the mask and the weights that are kept; 0 keeps the running ones.
        select_best: keep what was best on the validation examples of the task at the end of an epoch, or of the
            training; of equals, the earliest.

    Raises:
        ConfigError: a number is out of its range, steps and epochs are both given, or a word is unknown.

    Example:
        >>> Training(epochs=2.5, batch_size=100).total_steps(examples=1010)
        26
    """

    steps: int | None = None
    batch_size: int = 128
    optimiser: Optimiser = field(default_factory=RMSprop)
    schedule: Schedule = "constant"
    epochs: float | None = None
    warmup: float = 0.0
    accumulate: int = 1
    precision: Precision = "float32"
    augmentation: Augmentation | None = None
    select_best: bool = False
    head_rate: float = 1.0
    head_first: float = 0.0
    statistics_batches: int = 0

    def __post_init__(self) -> None:
        if self.steps is None and self.epochs is None:
            object.__setattr__(self, "steps", DEFAULT_STEPS)
        if self.steps is not None and self.epochs is not None:
            raise ConfigError(
                f"a training is so many steps or so many epochs long, but steps={self.steps} and "
                f"epochs={self.epochs} came; leave one of them out"
            )
        if (self.steps is not None and self.steps < 1) or self.batch_size < 1:
            raise ConfigError(f"steps and batch size are at least 1, but {self.steps} and {self.batch_size} came")
        if self.epochs is not None and not 0 < self.epochs < inf:
            raise ConfigError(f"epochs are a positive number, but {self.epochs} came")
        if self.schedule not in get_args(Schedule):
            raise ConfigError(f"the schedule is 'constant' or 'cosine', but {self.schedule!r} came")
        if not 0 <= self.warmup < 1:
            raise ConfigError(f"the warm-up is a fraction of all steps, at least 0 and below 1, but {self.warmup} came")
        if not 1 <= self.accumulate <= self.batch_size:
            raise ConfigError(
                f"a batch of {self.batch_size} examples can be cut into 1 to {self.batch_size} parts, "
                f"but accumulate={self.accumulate} came"
            )
        if self.statistics_batches < 0:
            raise ConfigError(f"statistics are of at least 0 batches, but {self.statistics_batches} came")
        if not 0 < self.head_rate < inf:
            raise ConfigError(f"the rate of heads is a positive multiple, but {self.head_rate} came")
        if not 0 <= self.head_first < 1:
            raise ConfigError(f"heads go first for a fraction of all steps below 1, but {self.head_first} came")
        if self.precision not in get_args(Precision):
            raise ConfigError(f"the precision is 'float32' or 'bfloat16', but {self.precision!r} came")

    def build_optimiser(self, parameters: Mapping[str, Tensor], heads: Collection[str]) -> torch.optim.Optimizer:
        """Return a new torch optimiser of these parameters.

        Args:
            parameters: by name.
            heads: the names of those that belong to a head.
        """
        fast = [value for name, value in parameters.items() if name in heads]
        slow = [value for name, value in parameters.items() if name not in heads]
        if (self.head_rate == 1 and self.head_first == 0) or not fast or not slow:
            return self.optimiser.build(parameters.values())
        # What is not the head comes first: `rates` tells the groups apart by their place.
        rate = self.optimiser.learning_rate * self.head_rate
        return self.optimiser.build([{"params": slow}, {"params": fast, "lr": rate}])

    def rates(self, step: int, steps: int, largest: Sequence[float]) -> list[float]:
        """Return the learning rate of each group of the optimiser at a step.

        Args:
            step: from 1.
            steps: of the training.
            largest: the learning rates that the groups were built with.
        """
        factor = rate_factor(self.schedule, self.warmup, step, steps)
        waiting = len(largest) > 1 and step <= self.head_first * steps
        return [0.0 if waiting and group == 0 else rate * factor for group, rate in enumerate(largest)]

    def part(self, share: float, rate: float) -> "Training":
        """Return the settings of a part of this training, with its own schedule, at a multiple of the learning rate."""
        if share == 1 and rate == 1:
            return self
        # An optimiser is a dataclass; every one has a learning rate.
        optimiser = replace(self.optimiser, learning_rate=self.optimiser.learning_rate * rate)  # pyright: ignore
        if self.epochs is not None:
            return replace(self, epochs=self.epochs * share, optimiser=optimiser)
        assert self.steps is not None  # one of them is given
        return replace(self, steps=max(1, round(self.steps * share)), optimiser=optimiser)

    def total_steps(self, examples: int) -> int:
        """Return how many steps a task with so many training examples takes: `ceil(epochs * examples / batch_size)`."""
        if self.steps is not None:
            return self.steps
        assert self.epochs is not None  # one of them is given
        return ceil(self.epochs * examples / self.batch_size)
