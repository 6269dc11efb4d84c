"""Initial scores that do not depend on earlier tasks."""

from dataclasses import dataclass
from math import isfinite, prod, sqrt

import numpy as np
import torch
from torch import Tensor

from supermasks.errors import ConfigError
from supermasks.masks.drawn import Drawn
from supermasks.scores.initial import InitialScores, Past
from supermasks.types import Shapes


@dataclass(frozen=True)
class KaimingUniform(InitialScores):
    """Uniform in `+-1 / sqrt(fan_in)`, drawn separately for each task and parameter (SupSup, Section 4.2).

    Many scores never cross the threshold, so half of each mask stays as it began. If all tasks begin with the same
    scores, that half is the same in all masks and cancels out when gradients compare the tasks. Only learned entries
    remain, which tells similar tasks apart.

    Attributes:
        shared: whether all tasks of a learner begin with the same scores.

    Example:
        >>> bool(KaimingUniform().scores({"w": (3, 4)}, "task", 0, Past())["w"].abs().max() <= 0.5)
        True
    """

    shared: bool = False

    @property
    def uses_past(self) -> bool:
        return False

    def drawn(self, task: str, seed: int) -> Drawn:
        return Drawn(seed, ("scores of all tasks",) if self.shared else ("scores", task))

    def scores(self, shapes: Shapes, task: str, seed: int, past: Past) -> dict[str, Tensor]:
        del past
        drawn = self.drawn(task, seed)
        return {name: _symmetric(drawn.numbers(name, shape)) for name, shape in shapes.items()}


@dataclass(frozen=True)
class Constant(InitialScores):
    """The same score for all weights: above the threshold, all weights are kept at first (Piggyback).

    Piggyback starts at 1e-2 with the threshold 5e-3, so a task begins as the pretrained network.

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
            raise ConfigError(f"initial scores must be a finite number, got {self.value}")

    @property
    def uses_past(self) -> bool:
        return False

    def scores(self, shapes: Shapes, task: str, seed: int, past: Past) -> dict[str, Tensor]:
        del task, seed, past
        return {name: torch.full(shape, self.value, dtype=torch.float32) for name, shape in shapes.items()}


@dataclass(frozen=True)
class Spread(InitialScores):
    """Uniform between `low` and `high`, drawn separately for each task and parameter.

    With a threshold at `low`, all weights are kept at first, as with `Constant`, but they leave one by one. With
    `Constant` all scores are equally far from the threshold. Adam moves each score at about the same speed, so many
    weights leave in the same few steps, and a pretrained network falls apart. Here a step of size `r` drops at most the
    fraction `r / (high - low)` of the weights.

    Attributes:
        low: the lower end.
        high: the upper end.

    Raises:
        ConfigError: a number is not finite, or `low` is not below `high`.

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
            raise ConfigError(f"low must be below high, both finite, got low={self.low} and high={self.high}")

    @property
    def uses_past(self) -> bool:
        return False

    def drawn(self, task: str, seed: int) -> Drawn:
        return Drawn(seed, ("scores", task))

    def scores(self, shapes: Shapes, task: str, seed: int, past: Past) -> dict[str, Tensor]:
        del past
        drawn, low, width = self.drawn(task, seed), np.float32(self.low), np.float32(self.high - self.low)
        return {
            name: torch.from_numpy(np.asarray(low + width * drawn.numbers(name, shape)))
            for name, shape in shapes.items()
        }


def _symmetric(numbers: np.ndarray) -> Tensor:
    """Return numbers from 0 to 1 as scores between `+-1 / sqrt(fan_in)`."""
    bound = np.float32(1 / sqrt(prod(numbers.shape[1:])))
    return torch.from_numpy(np.asarray((2 * numbers - 1) * bound))
