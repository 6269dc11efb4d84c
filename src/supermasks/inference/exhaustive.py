"""Exhaustive inference: try every mask, choose the most confident (SupSup, Section 3.3)."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from supermasks.errors import ConfigError
from supermasks.inference.objectives import Entropy, Objective
from supermasks.inference.task_inference import TaskInference, decide, uniform
from supermasks.superposition import Superposition
from supermasks.types import Belief


@dataclass(frozen=True)
class Exhaustive(TaskInference):
    """Choose the task whose mask has the smallest objective, by `k` forward passes (SupSup, Section 3.3).

    The evidence is the negative objective; its mean for a batch. Over tasks of `BatchEnsemble`, this is ABatchE
    (Appendix C, Equation 15).

    Attributes:
        objective: minimised by the right task.

    Raises:
        TaskError: on inference: tasks have heads of different sizes, whose objectives cannot be compared.

    Example:
        >>> Exhaustive()
        Exhaustive(objective=Entropy())
    """

    objective: Objective = field(default_factory=Entropy)

    @property
    def averages(self) -> bool:
        return True

    @property
    def comparable(self) -> bool:
        return True

    def infer(self, superposition: Superposition, inputs: Tensor) -> Belief:
        # One mean a task: in a mean over a matrix, equal columns may differ in their last bit.
        return decide(
            superposition, torch.stack([value.mean() for value in self._evidence(superposition, inputs)])[None]
        )

    def infer_each(self, superposition: Superposition, inputs: Tensor) -> Belief:
        return decide(superposition, torch.stack(self._evidence(superposition, inputs), dim=1))

    def _evidence(self, superposition: Superposition, inputs: Tensor) -> list[Tensor]:
        """Return the negative objective of each input, `batch`, for each task."""
        uniform(superposition)  # rejects an empty bank
        superposition.check_heads()
        return [tried(superposition, inputs, task, self.objective) for task in range(len(superposition))]


def tried(superposition: Superposition, inputs: Tensor, task: int, objective: Objective) -> Tensor:
    """Return the negative objective of each input with the mask of one task, `batch`.

    Args:
        superposition: the tasks.
        inputs: `batch x ...`.
        task: its index.
        objective: of the logits.

    Raises:
        ConfigError: the objective does not give one number for each input.
    """
    with torch.no_grad():
        logits = superposition.network.forward(inputs, superposition.member(task))
        values = objective.compare(logits, superposition.classes)
    if values.shape != (len(inputs),):
        raise ConfigError(
            f"{type(objective).__name__} must return one number for each input, of shape {(len(inputs),)}, got shape "
            f"{tuple(values.shape)}; reduce the logits over dimension 1, as in logits.amax(dim=1)"
        )
    return -values
