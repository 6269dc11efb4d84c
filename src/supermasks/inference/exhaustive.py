"""Exhaustive inference: try every mask, and take the most confident (SupSup, Section 3.3)."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from supermasks.inference.objectives import Entropy, Objective
from supermasks.inference.task_inference import TaskInference, decide, uniform
from supermasks.superposition import Superposition
from supermasks.types import Belief


@dataclass(frozen=True)
class Exhaustive(TaskInference):
    """Choose the task whose own mask makes the objective smallest, by `k` forward passes.

    The evidence is the negative objective (its mean, for a batch).
    """

    objective: Objective = field(default_factory=Entropy)

    def infer(self, superposition: Superposition, inputs: Tensor) -> Belief:
        return decide(superposition, self._evidence(superposition, inputs).mean(dim=0, keepdim=True))

    def infer_each(self, superposition: Superposition, inputs: Tensor) -> Belief:
        return decide(superposition, self._evidence(superposition, inputs))

    def _evidence(self, superposition: Superposition, inputs: Tensor) -> Tensor:
        uniform(superposition)  # refuses an empty bank
        with torch.no_grad():
            values = [
                self.objective.compare(
                    superposition.network.forward(inputs, superposition.member(i)), superposition.classes
                )
                for i in range(len(superposition))
            ]
        return -torch.stack(values, dim=1)
