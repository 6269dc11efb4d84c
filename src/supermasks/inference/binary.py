"""Binary (SupSup, Algorithm 2): drop the less likely half of the tasks until one is left."""

from dataclasses import dataclass, field

from torch import Tensor

from supermasks.inference.objectives import Entropy, Objective
from supermasks.inference.task_inference import TaskInference
from supermasks.inference.top_gamma import TopGamma
from supermasks.superposition import Superposition
from supermasks.types import Belief


@dataclass(frozen=True)
class Binary(TaskInference):
    """Halve the tasks until one is left, by the gradient at equal coefficients of the rest (SupSup, Section 3.3).

    Each round keeps the `floor(m / 2)` of `m` tasks with the largest `-dL/dalpha_i`: the paper's `g_i > median(g)` if
    all differ. Among equals, tasks learned earlier stay and the belief is marked as tied. The evidence is that of the
    last round, and `-inf` for tasks dropped before. Equals `TopGamma` with `gamma = 1/2`.

    Attributes:
        objective: minimised by the right task.

    Example:
        >>> Binary()
        Binary(objective=Entropy())
    """

    objective: Objective = field(default_factory=Entropy)

    def infer(self, superposition: Superposition, inputs: Tensor) -> Belief:
        return TopGamma(self.objective, gamma=1 / 2).infer(superposition, inputs)
