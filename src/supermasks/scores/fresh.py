"""Scores that know nothing of earlier tasks."""

from dataclasses import dataclass
from math import isfinite, prod, sqrt

import numpy as np
import torch
from torch import Tensor

from supermasks.errors import ConfigError
from supermasks.scores.initial import InitialScores, Past, Shapes
from supermasks.seeding import stream


@dataclass(frozen=True)
class KaimingUniform(InitialScores):
    """Uniform in `+-1 / sqrt(fan_in)`, from a random stream of its own for each task and parameter.

    This is what SupSup begins with where it keeps weights by a threshold (Section 4.2).
    Many scores move too little to cross the threshold, so that half of each mask is what the task began with. Where
    all tasks begin with the same numbers, that half is the same in all masks: it cancels out when tasks are compared
    by their gradients, and similar tasks are told apart by what they learned.

    Attributes:
        shared: all tasks of a learner begin with the same scores.

    Example:
        >>> bool(KaimingUniform().scores({"w": (3, 4)}, "task", 0, Past())["w"].abs().max() <= 0.5)
        True
    """

    shared: bool = False

    @property
    def uses_past(self) -> bool:
        return False

    def scores(self, shapes: Shapes, task: str, seed: int, past: Past) -> dict[str, Tensor]:
        del past
        purpose = ("scores of all tasks",) if self.shared else ("scores", task)
        return {name: _uniform(shape, stream(seed, *purpose, name)) for name, shape in shapes.items()}


@dataclass(frozen=True)
class Constant(InitialScores):
    """The same score for all weights: with a threshold below it, all weights are kept at first (Piggyback).

    Piggyback starts from 1e-2 with the threshold 5e-3, so that a task begins as the pretrained network itself.

    Raises:
        ConfigError: the value is not finite.

    Example:
        >>> Constant().scores({"w": (2,)}, "task", 0, Past())["w"]
        tensor([0.0100, 0.0100])
    """

    value: float = 1e-2

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isfinite(self.value):
            raise ConfigError(f"initial scores are a finite number, but {self.value} came")

    @property
    def uses_past(self) -> bool:
        return False

    def scores(self, shapes: Shapes, task: str, seed: int, past: Past) -> dict[str, Tensor]:
        del task, seed, past
        return {name: torch.full(shape, self.value, dtype=torch.float32) for name, shape in shapes.items()}


@dataclass(frozen=True)
class Spread(InitialScores):
    """Uniform between two numbers, from a random stream of its own for each task and parameter.

    With a threshold at the lower one all weights are kept at first, as with `Constant`, but they leave one by one. A
    constant puts all scores at one distance from the threshold: an optimiser such as Adam, which moves each score at
    about the same speed, takes all that move down across it in the same few steps, and a pretrained network falls
    apart. Here a step of size `r` can drop at most the fraction `r / (high - low)` of the weights.

    Attributes:
        low: the lower end.
        high: the upper end.

    Raises:
        ConfigError: the two are not finite, or not in this order.

    Example:
        >>> scores = Spread(0.0, 2.0).scores({"w": (3, 4)}, "task", 0, Past())["w"]
        >>> bool(scores.min() >= 0), bool(scores.max() <= 2)
        (True, True)
    """

    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (isfinite(self.low) and isfinite(self.high) and self.low < self.high):
            raise ConfigError(f"scores are spread from a number up to a larger one, but {self.low}, {self.high} came")

    @property
    def uses_past(self) -> bool:
        return False

    def scores(self, shapes: Shapes, task: str, seed: int, past: Past) -> dict[str, Tensor]:
        del past
        return {
            name: torch.from_numpy(_between(self.low, self.high, shape, stream(seed, "scores", task, name)))
            for name, shape in shapes.items()
        }


def _between(low: float, high: float, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    width = np.float32(high - low)
    return np.asarray(np.float32(low) + width * rng.random(shape, dtype=np.float32))


def _uniform(shape: tuple[int, ...], rng: np.random.Generator) -> Tensor:
    bound = np.float32(1 / sqrt(prod(shape[1:])))
    # A parameter without dimensions would otherwise become a number.
    return torch.from_numpy(np.asarray((2 * rng.random(shape, dtype=np.float32) - 1) * bound))
