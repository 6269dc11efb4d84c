"""How long and with what a task is trained."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import ceil, inf
from numbers import Real
from typing import Any, Literal

import torch
from torch import Tensor

from supermasks.brief import brief
from supermasks.errors import ConfigError
from supermasks.spec import Settings
from supermasks.training.augmentation import Augmentation
from supermasks.training.optimisers import Optimiser, Optimisers, RMSprop
from supermasks.training.schedule import Schedule, rate_factor

Precision = Literal["float32", "bfloat16"]

DEFAULT_STEPS = 1000
WAITS = "waits"  # marks the groups of an optimiser that wait while heads go first


@dataclass(frozen=True)
class Training(Settings):
    """How long and with what a task is trained; the defaults are SupSup's on MNIST (Section 4.2).

    Attributes:
        steps: optimiser steps a task; 1000 where neither steps nor epochs are given, None where epochs are.
        batch_size: examples a step; a shuffled epoch follows the other without gaps.
        optimiser: makes the steps.
        weight_optimiser: makes those of weights that are trained beside a mask (ExSSNeT, SSNeT), in place of the
            other; the schedule is of both.
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
        statistics_precision: in which these statistics are kept, "float32" or "float16"; `Fit.rounding` tells what that
            changes.
        select_best: keep what was best on the validation examples of the task at the end of an epoch, or of the
            training; of equals, the earliest.
        patience: end the training after so many epochs without a better accuracy on the validation examples, and keep
            the best, as `select_best` does, which this implies. Each stage of a method (ExSSNeT) ends by itself.
        clip_norm: gradients of a larger norm (L2, of all that is trained) are scaled down to this one.
        label_smoothing: the part of each target that is shared by all classes of the task, at least 0 and below 1.
        class_weights: what an example of each class weighs in the loss, in the order of the classes; "balanced" is
            `examples / (classes * examples of the class)`.

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
    statistics_precision: Literal["float32", "float16"] = "float32"
    weight_optimiser: Optimiser | None = None
    patience: int | None = None
    clip_norm: float | None = None
    label_smoothing: float = 0.0
    class_weights: Literal["balanced"] | Sequence[float] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
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
        self._check_regularisation()

    def _check_regularisation(self) -> None:
        if self.patience is not None:
            if self.patience < 1:
                raise ConfigError(f"patience must be at least 1 epoch, or None for none, got {self.patience}")
            object.__setattr__(self, "select_best", True)
        if self.clip_norm is not None and not 0 < self.clip_norm < inf:
            raise ConfigError(f"clip_norm must be a positive number, or None for none, got {brief(self.clip_norm)}")
        if not 0 <= self.label_smoothing < 1:
            raise ConfigError(f"label_smoothing must be at least 0 and below 1, got {brief(self.label_smoothing)}")
        if self.class_weights is None or (isinstance(self.class_weights, str) and self.class_weights == "balanced"):
            return
        given: Any = self.class_weights
        weights: list[Any] = (
            list(given) if isinstance(given, Iterable) and not isinstance(given, (str, Mapping)) else []
        )
        if not weights or not all(_is_number(weight) and 0 < weight < inf for weight in weights):
            raise ConfigError(
                'class_weights must be "balanced", or a positive number for each class in their order, got '
                f"{brief(given)}"
            )
        object.__setattr__(self, "class_weights", tuple(float(weight) for weight in weights))

    @property
    def dtype(self) -> torch.dtype:
        """The precision of the products in the network."""
        return torch.bfloat16 if self.precision == "bfloat16" else torch.float32

    def build_optimiser(
        self, parameters: Mapping[str, Tensor], heads: Collection[str], weights: Collection[str]
    ) -> torch.optim.Optimizer | Optimisers:
        """Return a new torch optimiser of these parameters, or several as one.

        Args:
            parameters: by name.
            heads: the names of those that belong to a head.
            weights: the names of those that are weights which are trained beside a mask.
        """
        both = 0 < sum(name in heads for name in parameters) < len(parameters)
        groups: dict[bool, dict[tuple[float, bool], list[Tensor]]] = {}
        for name, value in parameters.items():
            head = name in heads
            group = (self.head_rate if head and both else 1.0, both and not head and self.head_first > 0)
            apart = self.weight_optimiser is not None and name in weights
            groups.setdefault(apart, {}).setdefault(group, []).append(value)
        settings = {False: self.optimiser, True: self.weight_optimiser or self.optimiser}
        members = [_build(settings[apart], of_one) for apart, of_one in groups.items()]
        return members[0] if len(members) == 1 else Optimisers(members)

    def set_rates(
        self, optimiser: torch.optim.Optimizer | Optimisers, largest: Sequence[float], step: int, steps: int
    ) -> None:
        """Give each group of the optimiser its learning rate at a step.

        Args:
            optimiser: from `build_optimiser`.
            largest: the learning rates that its groups were built with.
            step: from 1.
            steps: of the training.
        """
        factor = rate_factor(self.schedule, self.warmup, step, steps)
        for group, rate in zip(optimiser.param_groups, largest, strict=True):
            group["lr"] = 0.0 if group.get(WAITS) and step <= self.head_first * steps else rate * factor

    def part(self, share: float) -> "Training":
        """Return the settings of a part of this training, with a schedule of its own."""
        if share == 1:
            return self
        if self.epochs is not None:
            return replace(self, epochs=self.epochs * share)
        assert self.steps is not None  # one of them is given
        return replace(self, steps=max(1, round(self.steps * share)))

    def total_steps(self, examples: int) -> int:
        """Return how many steps a task with so many training examples takes: `ceil(epochs * examples / batch_size)`."""
        if self.steps is not None:
            return self.steps
        assert self.epochs is not None  # one of them is given
        return ceil(self.epochs * examples / self.batch_size)


def _is_number(value: Any) -> bool:
    """Return whether a value is a number, of Python, numpy or torch."""
    scalar = isinstance(value, Tensor) and value.dim() == 0
    return scalar or (isinstance(value, Real) and not isinstance(value, bool))


def _build(optimiser: Optimiser, groups: Mapping[tuple[float, bool], list[Tensor]]) -> torch.optim.Optimizer:
    """Return an optimiser of groups, each with a multiple of its learning rate, some of which wait for heads."""
    if list(groups) == [(1.0, False)]:
        return optimiser.build(groups[1.0, False])
    rate = optimiser.learning_rate
    return optimiser.build(
        [{"params": values, "lr": rate * multiple, WAITS: waits} for (multiple, waits), values in groups.items()]
    )
