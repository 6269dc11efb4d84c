"""Synaptic intelligence: weights that reduced the loss of earlier tasks are held back."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import inf
from typing import Any

import torch
from torch import Tensor

from supermasks.errors import ConfigError
from supermasks.methods.sequential import Sequential, SharedWeights
from supermasks.methods.session import Learned, Lesson, Session

IMPORTANCE = "importance of "
"""The prefix of the names of importance in the memory, before the names of the weights."""


@dataclass(frozen=True)
class SI(Sequential):
    """Sequential training with a penalty on weights that reduced the loss of earlier tasks (SI; Zenke et al. 2017).

    During a task, each weight `n` collects how much it has reduced the loss, `w_n = -sum_steps g_n * step_n`. Here `g`
    is the gradient of the cross-entropy, and `step` the change of the weight. After the task

        O_n <- O_n + max(w_n, 0) / (moved_n^2 + damping)

    where `moved` is the change over the whole task. The penalty is (Equation 4)

        strength * sum_n O_n (W_n - W'_n)^2

    with `W'`, the weights after the task before. Its gradient is added to that of the loss, so reported losses leave it
    out. `O` takes 4 bytes a weight, once for all tasks, and only training needs it. Heads are not held back.

    Attributes:
        strength: of the penalty, `c` in the paper.
        damping: keeps the importance of weights that hardly move finite, `xi` in the paper.

    Raises:
        ConfigError: the strength is negative, or the damping is not positive.
    """

    strength: float = 1.0
    damping: float = 1e-3

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (0 <= self.strength < inf and 0 < self.damping < inf):
            raise ConfigError(
                f"SI takes a strength from 0 up and a damping above 0, got {self.strength} and {self.damping}"
            )

    def begin(self, lesson: Lesson) -> Session:
        return _HeldBack(self, lesson)


class _HeldBack(SharedWeights):
    """Trains the shared weights with the penalty, and follows how each of them reduces the loss."""

    def __init__(self, method: SI, lesson: Lesson) -> None:
        super().__init__(lesson)
        self._method, memory = method, lesson.past.memory
        self._importance = {
            name: memory[IMPORTANCE + name].to(weight.device)
            if IMPORTANCE + name in memory
            else torch.zeros_like(weight)
            for name, weight in lesson.network.weights.items()
        }
        self._gained = {name: torch.zeros_like(weight) for name, weight in lesson.network.weights.items()}
        self._slopes, self._before = dict[str, Tensor](), dict[str, Tensor]()

    def after_backward(self) -> None:
        self._slopes, self._before = {}, {}
        with torch.no_grad():
            for name, importance in self._importance.items():
                weight, gradient = self.parameters[name], self.parameters[name].grad
                if gradient is not None:
                    self._slopes[name], self._before[name] = gradient.clone(), weight.detach().clone()
                    gradient += 2 * self._method.strength * importance * (weight - self.network.weights[name])

    def after_step(self) -> None:
        with torch.no_grad():
            for name, slope in self._slopes.items():
                self._gained[name] -= slope * (self.parameters[name] - self._before[name])

    def state(self) -> dict[str, Any]:
        return {"gained": self._gained}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._gained = {name: value.to(self.network.device) for name, value in state["gained"].items()}

    def finish(self) -> Learned:
        memory = {name: value for name, value in self.lesson.past.memory.items() if not name.startswith(IMPORTANCE)}
        for name, gained in self._gained.items():
            moved = self.parameters[name].detach() - self.network.weights[name]
            found = gained.clamp(min=0) / (moved.square() + self._method.damping)
            memory[IMPORTANCE + name] = (self._importance[name] + found).cpu()
        return replace(super().finish(), memory=memory)
