"""Binary (SupSup, Algorithm 2): rule out the less promising half of the tasks until one is left."""

from dataclasses import dataclass, field

from torch import Tensor

from supermasks.inference.objectives import Entropy, Objective
from supermasks.inference.task_inference import TaskInference
from supermasks.inference.top_gamma import TopGamma
from supermasks.superposition import Superposition
from supermasks.types import Belief


@dataclass(frozen=True)
class Binary(TaskInference):
    """Halve the tasks until one is left, by the gradient at equal coefficients of those still in (SupSup, Section 3.3).

    Of `m` tasks the `floor(m / 2)` of largest `-dL/dalpha_i` stay in, which is the paper's `g_i > median(g)` where all
    differ. Among equals the earlier learned stay in and the belief is marked as tied, so that it always ends.
    The evidence is that of the last round; it is `-inf` for tasks ruled out before. It is `TopGamma` at 1/2.
    """

    objective: Objective = field(default_factory=Entropy)

    def infer(self, superposition: Superposition, inputs: Tensor) -> Belief:
        return TopGamma(self.objective, gamma=1 / 2).infer(superposition, inputs)
