"""Gradient descent on the coefficients (SupSup, Equation 3): many small steps instead of one."""

from dataclasses import dataclass, field, replace
from math import inf

import torch
from torch import Tensor

from supermasks.errors import ConfigError
from supermasks.inference.gradients import batch_gradient
from supermasks.inference.objectives import Entropy, Objective
from supermasks.inference.task_inference import TaskInference, decide, uniform
from supermasks.superposition import Superposition
from supermasks.types import Belief


@dataclass(frozen=True)
class GradientDescent(TaskInference):
    """Minimise the objective over `alpha` by gradient descent, and choose `argmax_i alpha_i` (SupSup, Equation 3).

    From `alpha = 1/k`, each step is `alpha_i <- alpha_i exp(-learning_rate g_i / s) / Z`, with `g_i = dL/dalpha_i` at
    the present alpha, `s = max_i g_i - min_i g_i`, and `Z` such that alpha sums to one.

    The paper does not say how to normalise alpha. This is the softmax of its remark on One-Shot, over many steps; one
    step, at any rate, chooses as One-Shot does. Alpha stays positive, so no task is dropped for good. A part that all
    `g_i` share has no effect. That part dominates if a larger sum of alpha makes all outputs more confident; then
    `alpha - learning_rate g`, divided by its sum, would stay near equal coefficients at any rate. Dividing by `s` makes
    the rate independent of the scale of the network: in one step the task with the smallest `g_i` gains a factor of
    `exp(learning_rate)` over the one with the largest.

    The belief holds the alpha of the last step, usually not one-hot, also as its evidence. The cost is `steps`
    gradients, for any number of tasks.

    Attributes:
        objective: minimised by the right task.
        steps: of gradient descent, at least 1.
        learning_rate: of a step, positive; `exp(learning_rate * steps)` should be well above the number of tasks.

    Raises:
        ConfigError: `steps` is below 1, or the learning rate is not positive.

    Example:
        >>> GradientDescent(steps=50)
        GradientDescent(objective=Entropy(), steps=50, learning_rate=0.5)
    """

    objective: Objective = field(default_factory=Entropy)
    steps: int = 20
    learning_rate: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (isinstance(self.steps, int) and self.steps >= 1):
            raise ConfigError(f"steps of gradient descent must be at least 1, got {self.steps}")
        if not 0 < self.learning_rate < inf:
            raise ConfigError(
                f"the learning rate must be a positive number, got {self.learning_rate}; 0.5 is the default"
            )

    def infer(self, superposition: Superposition, inputs: Tensor) -> Belief:
        alpha, everyone = uniform(superposition), range(len(superposition))
        logarithm = torch.zeros_like(alpha)  # of alpha, up to a constant: small coefficients do not underflow
        for _ in range(self.steps):
            gradient = batch_gradient(superposition, inputs, alpha, self.objective, everyone)
            spread = gradient.max() - gradient.min()
            if spread == 0:
                break  # all gradients are equal: alpha stays
            logarithm -= self.learning_rate * gradient / spread
            alpha = logarithm.softmax(dim=0)
        return replace(decide(superposition, alpha[None]), alpha=alpha[None])
