"""Binary (SupSup, Algorithm 2): rule out the less promising half of the tasks until one is left."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from supermasks.inference.gradients import batch_gradient
from supermasks.inference.objectives import Entropy, Objective
from supermasks.inference.task_inference import TaskInference, decide, uniform
from supermasks.superposition import Superposition
from supermasks.types import Belief


@dataclass(frozen=True)
class Binary(TaskInference):
    """Halve the tasks until one is left, by the gradient at equal coefficients of those still in (SupSup, Section 3.3).

    Of `m` tasks the `floor(m / 2)` of largest `-dL/dalpha_i` stay in, which is the paper's `g_i > median(g)` where all
    differ. Among equals the earlier learned stay in and the belief is marked as tied, so that it always ends.
    The evidence is that of the last round; it is `-inf` for tasks ruled out before.
    """

    objective: Objective = field(default_factory=Entropy)

    def infer(self, superposition: Superposition, inputs: Tensor) -> Belief:
        active = list(range(len(superposition)))
        tied = False
        while True:
            alpha = uniform(superposition, active)
            evidence = -batch_gradient(superposition, inputs, alpha, self.objective, active)
            keep = len(active) // 2
            if keep <= 1:
                break
            # Stable, so that among equals the earlier learned comes first.
            order = torch.sort(evidence, descending=True, stable=True)
            tied |= bool(order.values[keep - 1] == order.values[keep])
            active = sorted(active[i] for i in order.indices[:keep].tolist())
        last = torch.full((1, len(superposition)), -torch.inf)
        last[0, active] = evidence
        return decide(superposition, last, torch.tensor([tied]))
