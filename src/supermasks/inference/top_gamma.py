"""Top-gamma (SupSup, Appendix F): keep a fraction of the tasks until one is left."""

from dataclasses import dataclass, field
from math import floor

import torch
from torch import Tensor

from supermasks.errors import ConfigError
from supermasks.inference.gradients import batch_gradient
from supermasks.inference.objectives import Entropy, Objective
from supermasks.inference.task_inference import TaskInference, decide, uniform
from supermasks.superposition import Superposition
from supermasks.types import Belief


@dataclass(frozen=True)
class TopGamma(TaskInference):
    """Keep the fraction `gamma` of the tasks until one is left, by the gradient at equal coefficients of the rest.

    Each round keeps the `floor(gamma m)` of `m` tasks with the largest `-dL/dalpha_i`, at least 1 and at most `m - 1`:
    the paper's `g_i > top-gamma-element(g)` if all differ (SupSup, Appendix F and Figure 11). `gamma = 1/2` is Binary,
    `gamma <= 1/k` is One-Shot. It takes about `log k / log(1 / gamma)` gradients. Above `1/2`, not tried in the paper,
    it takes more rounds than Binary. Among equals, tasks learned earlier stay and the belief is marked as tied. The
    evidence is that of the last round, and `-inf` for tasks dropped before.

    Attributes:
        objective: minimised by the right task.
        gamma: the fraction of tasks to keep in each round, above 0 and below 1; 1/4 takes half the rounds of Binary.

    Raises:
        ConfigError: `gamma` is not above 0 and below 1.

    Example:
        >>> [TopGamma(gamma=gamma).kept(36) for gamma in (1 / 36, 1 / 4, 1 / 2, 0.99)]
        [1, 9, 18, 35]
    """

    objective: Objective = field(default_factory=Entropy)
    gamma: float = 0.25

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.gamma < 1:
            raise ConfigError(
                f"gamma, the fraction of tasks to keep, must be above 0 and below 1, got {self.gamma}; "
                "1/2 is Binary, 1 over the number of tasks is One-Shot"
            )

    def kept(self, tasks: int) -> int:
        """Return how many of two or more tasks stay after a round: at least one, never all."""
        # 0.29 * 100 is 28.999... in floating point.
        return min(max(floor(self.gamma * tasks + 1e-9), 1), tasks - 1)

    def infer(self, superposition: Superposition, inputs: Tensor) -> Belief:
        active = list(range(len(superposition)))
        tied = False
        while True:
            alpha = uniform(superposition, active)
            evidence = -batch_gradient(superposition, inputs, alpha, self.objective, active)
            keep = self.kept(len(active))
            if keep <= 1:
                break
            # Stable: among equals, the task learned first comes first.
            order = torch.sort(evidence, descending=True, stable=True)
            tied |= bool(order.values[keep - 1] == order.values[keep])
            active = sorted(active[i] for i in order.indices[:keep].tolist())
        last = torch.full((1, len(superposition)), -torch.inf, dtype=torch.float32)
        last[0, active] = evidence
        return decide(superposition, last, torch.tensor([tied]))
