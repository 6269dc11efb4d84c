"""The settings of a training."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from inspect import Parameter, signature
from itertools import accumulate, pairwise
from math import ceil, inf
from numbers import Real
from typing import Any, Literal

import torch
from torch import Tensor

from supermasks.brief import brief, expect
from supermasks.errors import ConfigError
from supermasks.spec import Settings
from supermasks.training.augmentation import Augmentation
from supermasks.training.optimisers import Optimiser, Optimisers, RMSprop
from supermasks.training.schedule import Schedule, rate_factor

DEFAULT_STEPS = 1000
WAITS = "waits"  # marks the groups of an optimiser that wait while only heads are trained


@dataclass(frozen=True)
class Training(Settings):
    """The settings of a training; the defaults are those of SupSup on MNIST (Section 4.2).

    Attributes:
        steps: optimiser steps of a task; 1000 by default, None if epochs are given.
        batch_size: how many examples each step uses. At the end of an epoch a step also uses examples of the next one.
        optimiser: makes the steps.
        weight_optimiser: makes the steps of weights that are trained beside a mask (ExSSNeT, SSNeT); None uses
            `optimiser`. The schedule applies to both.
        schedule: of the learning rate, "constant" or "cosine" (to 0 at the last step).
        epochs: passes over the training examples, instead of steps; any positive number (see `total_steps`).
        warmup: the fraction of all steps, from the first on, over which the learning rate rises linearly from 0.
        accumulate: the number of parts of a batch, computed one after the other to save memory. A step still uses the
            whole batch, but batch normalisation the statistics of each part. Methods that replay stored examples
            refuse more than one part.
        precision: of products in the network. With "bfloat16" (autocast), trainable tensors, the loss and the accuracy
            on validation examples remain float32.
        augmentation: changes each training input at random; None changes nothing.
        head_rate: the learning rate of the head of each task, as a multiple of the rate of all else.
        head_first: the fraction of the steps, from the first on, that train only the head: gradients through an
            untrained head would damage pretrained features. If a method has several stages (ExSSNeT), the steps of the
            first one count.
        statistics_batches: the number of batches to measure batch-norm statistics over after the training, with the
            final mask and weights; 0 keeps the running statistics. The network must have batch normalisation.
        statistics_precision: of stored batch-norm statistics, "float32" or "float16"; `Fit.rounding` is the effect of
            rounding.
        select_best: keep the state of the epoch with the best accuracy on the validation examples; among equals, the
            earliest.
        patience: end the training after so many epochs without a better accuracy on the validation examples, and keep
            the best (implies `select_best`). Each stage of a method (ExSSNeT) has its own count.
        clip_norm: scale gradients of a larger norm (L2, over all trainable tensors) down to this norm.
        label_smoothing: the part of each target that is spread over all classes of the task, at least 0 and below 1.
        class_weights: the weight of an example of each class in the loss, in the order of the classes; "balanced" is
            `examples / (classes with examples * examples of the class)`, and 0 for classes without.

    Raises:
        ConfigError: a setting is out of its range or unknown, or steps and epochs are both given.

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
    precision: Literal["float32", "bfloat16"] = "float32"
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
                f"expected steps or epochs, got steps={self.steps} and epochs={self.epochs}; leave one of them out"
            )
        if (self.steps is not None and self.steps < 1) or self.batch_size < 1:
            raise ConfigError(f"steps and batch_size must be at least 1, got {self.steps} and {self.batch_size}")
        if self.epochs is not None and not 0 < self.epochs < inf:
            raise ConfigError(f"epochs must be a positive number, got {self.epochs}")
        if not 0 <= self.warmup < 1:
            raise ConfigError(f"warmup must be a fraction of all steps, at least 0 and below 1, got {self.warmup}")
        if not 1 <= self.accumulate <= self.batch_size:
            raise ConfigError(
                f"accumulate must be 1 to {self.batch_size} parts for a batch of {self.batch_size} examples, "
                f"got {self.accumulate}"
            )
        if self.statistics_batches < 0:
            raise ConfigError(f"statistics_batches must be at least 0, got {self.statistics_batches}")
        if not 0 < self.head_rate < inf:
            raise ConfigError(f"head_rate must be a positive number, got {self.head_rate}")
        if not 0 <= self.head_first < 1:
            raise ConfigError(
                f"head_first must be a fraction of all steps, at least 0 and below 1, got {self.head_first}"
            )
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
                'class_weights must be "balanced", or a positive number for each class, in their order, got '
                f"{brief(given)}"
            )
        object.__setattr__(self, "class_weights", tuple(float(weight) for weight in weights))

    @property
    def dtype(self) -> torch.dtype:
        """The type of products in the network."""
        return torch.bfloat16 if self.precision == "bfloat16" else torch.float32

    def build_optimiser(
        self, parameters: Mapping[str, Tensor], heads: Collection[str], weights: Collection[str]
    ) -> torch.optim.Optimizer | Optimisers:
        """Return a new torch optimiser of these parameters, or several as one.

        Args:
            parameters: by name.
            heads: the names of parameters of the head; none if the network has no head.
            weights: the names of weights that are trained beside a mask.

        Raises:
            ConfigError: there are settings of heads, but no head; or the class of the optimiser builds none that can
                be used.
        """
        if not heads and (self.head_first or self.head_rate != 1):
            raise ConfigError(
                f"head_first={self.head_first} and head_rate={self.head_rate} are for a network whose tasks have their "
                'own heads, got one without a head; leave them out, or name the head: Network(..., head="classifier")'
            )
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
        """Set the learning rate of each group of the optimiser for a step.

        Args:
            optimiser: from `build_optimiser`.
            largest: the initial learning rates of its groups.
            step: from 1.
            steps: of the training.
        """
        factor = rate_factor(self.schedule, self.warmup, step, steps)
        for group, rate in zip(optimiser.param_groups, largest, strict=True):
            group["lr"] = 0.0 if self._waits(group, step, steps) else rate * factor

    def drop_waiting(self, optimiser: torch.optim.Optimizer | Optimisers, step: int, steps: int) -> None:
        """Drop the gradients of what waits for the head: they count in no norm, and in no mean of the optimiser.

        Args:
            optimiser: from `build_optimiser`.
            step: from 1.
            steps: of the training.
        """
        for group in optimiser.param_groups:
            if self._waits(group, step, steps):
                for parameter in group["params"]:
                    parameter.grad = None

    def _waits(self, group: Mapping[str, Any], step: int, steps: int) -> bool:
        """Return whether a group of the optimiser waits while only the head is trained."""
        return bool(group.get(WAITS)) and step <= self.head_first * steps

    def parts(self, shares: Sequence[float], examples: int) -> list["Training"]:
        """Return the settings of each stage of a training. Their steps are all its steps; each has its own schedule.

        Args:
            shares: of the steps, one for each stage; each stage gets at least one.
            examples: their number.

        Raises:
            ConfigError: there are fewer steps than stages.

        Example:
            >>> [part.steps for part in Training(steps=5).parts([0.5, 0.5], examples=100)]
            [2, 3]
        """
        steps, stages = self.total_steps(examples), len(shares)
        if stages == 1:
            return [self]
        if steps < stages:
            raise ConfigError(
                f"expected at least {stages} steps, one for each stage of the method, got {steps}; train longer"
            )
        ends = [0]
        for stage, share in enumerate(accumulate(shares), start=1):
            ends.append(min(max(round(steps * share), ends[-1] + 1), steps - stages + stage))
        return [replace(self, steps=end - start, epochs=None) for start, end in pairwise(ends)]

    def total_steps(self, examples: int) -> int:
        """Return the steps for a number of training examples: `steps`, or `ceil(epochs * examples / batch_size)`."""
        if self.steps is not None:
            return self.steps
        assert self.epochs is not None  # one of them is given
        return ceil(self.epochs * examples / self.batch_size)


def _is_number(value: Any) -> bool:
    """Return whether a value is a number of Python, numpy or torch."""
    scalar = isinstance(value, Tensor) and value.dim() == 0
    return scalar or (isinstance(value, Real) and not isinstance(value, bool))


def _build(optimiser: Optimiser, groups: Mapping[tuple[float, bool], list[Tensor]]) -> torch.optim.Optimizer:
    """Return an optimiser of groups by (multiple of the learning rate, whether they wait for the head)."""
    if list(groups) == [(1.0, False)]:
        built = optimiser.build(groups[1.0, False])
    else:
        rate = optimiser.learning_rate
        built = optimiser.build(
            [{"params": values, "lr": rate * multiple, WAITS: waits} for (multiple, waits), values in groups.items()]
        )
    kind = type(optimiser).__name__
    expect(built, torch.optim.Optimizer, f"what build() of {kind} returns")
    arguments = signature(built.step).parameters.values()
    if any(each.kind is Parameter.POSITIONAL_OR_KEYWORD and each.default is Parameter.empty for each in arguments):
        raise ConfigError(
            f"build() of {kind} must return an optimiser whose step() needs nothing but the gradients, got a "
            f"{type(built).__name__}, which computes the loss anew; use another one, such as torch.optim.Adam"
        )
    return built
