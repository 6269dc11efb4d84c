"""One-Shot (SupSup, Algorithm 1): the task in whose direction the objective falls fastest."""

from dataclasses import dataclass, field

from torch import Tensor

from supermasks.inference.gradients import batch_gradient, each_gradient
from supermasks.inference.objectives import Entropy, Objective
from supermasks.inference.task_inference import TaskInference, decide, uniform
from supermasks.superposition import Superposition
from supermasks.types import Belief


@dataclass(frozen=True)
class OneShot(TaskInference):
    """Choose `argmax_i (-dL/dalpha_i)` at `alpha = 1/k`, from a single gradient (SupSup, Equation 4).

    The evidence is `-dL/dalpha_i`.
    """

    objective: Objective = field(default_factory=Entropy)

    def infer(self, superposition: Superposition, inputs: Tensor) -> Belief:
        everyone = range(len(superposition))
        gradient = batch_gradient(superposition, inputs, uniform(superposition), self.objective, everyone)
        return decide(superposition, -gradient[None])

    def infer_each(self, superposition: Superposition, inputs: Tensor) -> Belief:
        return decide(superposition, -each_gradient(superposition, inputs, uniform(superposition), self.objective))
