"""The training loop: batches by tensor indexing, effective weights, one optimiser step."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import cos, isfinite, pi
from time import perf_counter

import numpy as np
import torch
from torch import Tensor

from supermasks.errors import ConfigError, TrainingError
from supermasks.network import Network
from supermasks.training.optimisers import Optimiser, RMSprop
from supermasks.types import Examples

Progress = Callable[[int, int], None]
"""Called after each step with the number of steps done and of all steps."""

CHECK_EVERY = 50


@dataclass(frozen=True)
class Training:
    """How long and with what a task is trained; the defaults are SupSup's on MNIST (Section 4.2).

    Attributes:
        steps: optimiser steps a task.
        batch_size: examples a step; a shuffled epoch follows the other without gaps.
        optimiser: makes the steps.
        schedule: of the learning rate, "constant" or "cosine" (to 0 at the last step).

    Raises:
        ConfigError: a number is not positive, or the schedule is unknown.
    """

    steps: int = 1000
    batch_size: int = 128
    optimiser: Optimiser = field(default_factory=RMSprop)
    schedule: str = "constant"

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch_size < 1:
            raise ConfigError(f"steps and batch size are at least 1, but {self.steps} and {self.batch_size} came")
        if self.schedule not in ("constant", "cosine"):
            raise ConfigError(f"the schedule is 'constant' or 'cosine', but {self.schedule!r} came")


@dataclass(frozen=True)
class Fit:
    """How a training went.

    Attributes:
        loss: mean cross-entropy, in nats, of the last steps (50 at most).
        seconds: wall-clock time.
    """

    loss: float
    seconds: float


def fit(
    network: Network,
    parameters: Sequence[Tensor],
    effective: Callable[[], Mapping[str, Tensor]],
    examples: Examples,
    settings: Training,
    order: np.random.Generator,
    progress: Progress | None = None,
) -> Fit:
    """Minimise the cross-entropy over all outputs, superfluous neurons included (SupSup, Section 3.6).

    Args:
        network: computes logits.
        parameters: leaf tensors that the optimiser changes.
        effective: gives the effective weights for the present value of the parameters, differentiable.
        examples: to train on.
        settings: how.
        order: shuffles the examples.
        progress: told of each step.

    Raises:
        TrainingError: the network refuses a batch, or the loss, or a parameter at the end, is not finite.
    """
    optimiser = settings.optimiser.build(parameters)
    start, recent = perf_counter(), torch.zeros((), dtype=torch.float32)
    rows = shuffled_batches(len(examples), settings.batch_size, order)
    since_check, loss_now = 0, 0.0
    for step in range(1, settings.steps + 1):
        if settings.schedule == "cosine":
            rate = settings.optimiser.learning_rate * (1 + cos(pi * (step - 1) / settings.steps)) / 2
            for group in optimiser.param_groups:
                group["lr"] = rate
        inputs, targets = examples.batch(next(rows))
        inputs = inputs.detach()  # the user's own graph, if there is one, is not ours to train
        try:
            logits = network.forward(inputs, effective(), training=True)
        except ValueError as error:  # batch normalisation of a single example, for instance
            raise TrainingError(f"the network cannot be trained on batches of {len(inputs)}: {error}") from error
        loss = torch.nn.functional.cross_entropy(logits, targets)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        recent += loss.detach()
        since_check += 1
        if since_check == CHECK_EVERY or step == settings.steps:
            loss_now = float(recent) / since_check
            if not isfinite(loss_now):
                raise TrainingError(
                    f"the loss is {loss_now} at step {step}; lower the learning rate, or check the inputs"
                )
            recent.zero_()
            since_check = 0
        if progress is not None:
            progress(step, settings.steps)
    if not all(bool(torch.isfinite(parameter).all()) for parameter in parameters):
        raise TrainingError("training left values that are not finite; lower the learning rate")
    return Fit(loss_now, perf_counter() - start)


def shuffled_batches(count: int, size: int, order: np.random.Generator) -> Iterator[Tensor]:
    """Yield index batches (`size`, int64) without end: each example once an epoch, epochs joined without gaps."""
    pending = np.empty(0, dtype=np.int64)
    while True:
        while len(pending) < size:
            pending = np.concatenate([pending, order.permutation(count)])
        yield torch.from_numpy(pending[:size])
        pending = pending[size:]
