"""Two-Shot: a first gradient lists tasks, a second one over their mixture chooses among them."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from supermasks.errors import ConfigError
from supermasks.inference.gradients import batch_gradient
from supermasks.inference.one_shot import OneShot
from supermasks.inference.task_inference import decide, listed_tasks, uniform
from supermasks.superposition import Superposition
from supermasks.types import Belief


@dataclass(frozen=True)
class TwoShot(OneShot):
    """One-Shot, repeated among the tasks of largest evidence, at equal coefficients of these.

    In a mixture of fewer tasks, each has more weight, so unusual inputs are recognised too: nearly always, if the first
    gradient lists their task. Not in the paper; between One-Shot and `TopGamma`, whose later rounds change little.
    With no more tasks than are listed, the first gradient decides: a second one would be the same.
    Among equals at the end of the list, tasks learned earlier are listed and the belief is marked as tied. The evidence
    is that of the second gradient, and `-inf` for tasks that are not listed.

    Attributes:
        objective: minimised by the right task.
        exact: whether the first gradient compares all tasks by all weights, or only a shortlist.
        layers: the number of parameters, from the input on, to take gradients through; None for all.
        centred: whether to subtract from gradients their mean over the weights of each neuron.
        listed: the largest number of tasks for the second gradient, at least 2.

    Raises:
        ConfigError: `listed` is below 2, or `layers` below 1.

    Example:
        >>> TwoShot(centred=True, listed=8).listed
        8
    """

    listed: int = 32

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.listed < 2:
            raise ConfigError(f"listed must be at least 2 tasks, got {self.listed}")

    @property
    def averages(self) -> bool:
        return False  # each batch has its own list

    def infer(self, superposition: Superposition, inputs: Tensor) -> Belief:
        first = super().infer(superposition, inputs)
        return first if self._lists_all(superposition) else self._again(superposition, [inputs], first.evidence)

    def infer_each(self, superposition: Superposition, inputs: Tensor) -> Belief:
        first = super().infer_each(superposition, inputs)
        return first if self._lists_all(superposition) else self._again(superposition, inputs.split(1), first.evidence)

    def _lists_all(self, superposition: Superposition) -> bool:
        """Return whether the second gradient would be the first one again."""
        return self.exact and len(superposition) <= self.listed

    def _again(self, superposition: Superposition, parts: Sequence[Tensor], first: Tensor) -> Belief:
        """Return the belief about batches of one task each, from their first evidence, `batches x k`."""
        names = superposition.parameters[: self.layers]
        evidence = torch.full_like(first, -torch.inf)
        tied = torch.zeros(len(first), dtype=torch.bool)
        for row, (inputs, before) in enumerate(zip(parts, first, strict=True)):
            among, tied[row] = listed_tasks(before, self.listed)
            evidence[row, among] = -batch_gradient(
                superposition, inputs, uniform(superposition, among), self.objective, among, names, self.centred
            )
        return decide(superposition, evidence, tied)
