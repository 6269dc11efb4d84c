"""Gradient descent on the coefficients (SupSup, Equation 3): many small steps in place of one large one."""

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

    From `alpha = 1/k`, each step is `alpha_i <- alpha_i exp(-learning_rate g_i / s) / Z` with `g_i = dL/dalpha_i` at
    the coefficients so far, `s = max_i g_i - min_i g_i`, and `Z` such that they sum to one. The paper leaves open how
    they are re-normalised. This is the softmax of its remark on One-Shot, carried on over many steps: one step of any
    rate chooses as One-Shot does. Coefficients stay positive, so that no task is ruled out for good, and what all
    `g_i` have in common changes nothing. It is most of them where a larger sum of alpha makes all outputs more
    confident, and `alpha - learning_rate g` divided by its sum then stays near equal coefficients at any rate.
    Division by `s` frees the rate from the scale of the network: in one step the task of smallest `g_i` gains a
    factor of `exp(learning_rate)` on that of the largest.

    The alpha of the belief is that of the last step, in general not one-hot, and its evidence as well. It takes
    `steps` gradients, whatever the number of tasks.

    Attributes:
        objective: what the right task makes small.
        steps: of gradient descent, at least 1.
        learning_rate: of a step, positive; `exp(learning_rate * steps)` should be well above the number of tasks.

    Raises:
        ConfigError: the steps or the rate lie outside of that.

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
            raise ConfigError(f"gradient descent takes a whole number of steps, at least 1, but {self.steps} came")
        if not 0 < self.learning_rate < inf:
            raise ConfigError(
                f"a learning rate is a positive number, but {self.learning_rate} came; 0.5 is the default"
            )

    def infer(self, superposition: Superposition, inputs: Tensor) -> Belief:
        alpha, everyone = uniform(superposition), range(len(superposition))
        logarithm = torch.zeros_like(alpha)  # of alpha, up to a constant, so that a small one is not lost to rounding
        for _ in range(self.steps):
            gradient = batch_gradient(superposition, inputs, alpha, self.objective, everyone)
            spread = gradient.max() - gradient.min()
            if spread == 0:
                break  # all are alike, and alpha stays
            logarithm -= self.learning_rate * gradient / spread
            alpha = logarithm.softmax(dim=0)
        return replace(decide(superposition, alpha[None]), alpha=alpha[None])
