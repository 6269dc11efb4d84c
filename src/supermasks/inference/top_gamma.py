"""Top-gamma (SupSup, Appendix F): between Binary and One-Shot, keep a fraction of the tasks until one is left."""

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
    """Keep the fraction `gamma` of the tasks until one is left, by the gradient at equal coefficients of these.

    Of `m` tasks the `floor(gamma m)` of largest `-dL/dalpha_i` stay in, at least 1 and at most `m - 1`: the paper's
    `g_i > top-gamma-element(g)` where all differ (SupSup, Appendix F and Figure 11). `gamma = 1/2` is Binary, and
    `gamma <= 1/k` is One-Shot; about `log k / log(1 / gamma)` gradients are taken. Above `1/2`, which the paper does
    not try, tasks leave more slowly than in Binary. Among equals the earlier learned stay in and the belief is marked
    as tied. The evidence is that of the last round; it is `-inf` for tasks ruled out before.

    Attributes:
        objective: what the right task makes small.
        gamma: the fraction of the tasks that stays in, above 0 and below 1; at a quarter, half the rounds of Binary.

    Raises:
        ConfigError: `gamma` lies outside of that.

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
                f"gamma is the fraction of tasks that stays in, above 0 and below 1, but {self.gamma} came; "
                "1/2 is Binary, 1 over the number of tasks is One-Shot"
            )

    def kept(self, tasks: int) -> int:
        """Return how many of so many tasks, at least 2, stay in after a round: at least one, and never all."""
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
            # Stable, so that among equals the earlier learned comes first.
            order = torch.sort(evidence, descending=True, stable=True)
            tied |= bool(order.values[keep - 1] == order.values[keep])
            active = sorted(active[i] for i in order.indices[:keep].tolist())
        last = torch.full((1, len(superposition)), -torch.inf, dtype=torch.float32)
        last[0, active] = evidence
        return decide(superposition, last, torch.tensor([tied]))
