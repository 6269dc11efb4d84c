"""Two gradients: the tasks that the first one lists are mixed anew, and the second one chooses among them."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from supermasks.errors import ConfigError
from supermasks.inference.gradients import batch_gradient
from supermasks.inference.one_shot import OneShot
from supermasks.inference.task_inference import decide, uniform
from supermasks.superposition import Superposition
from supermasks.types import Belief


@dataclass(frozen=True)
class TwoShot(OneShot):
    """One-Shot, and once more among the tasks of largest evidence, at equal coefficients of these.

    In a mixture of few tasks each of them weighs more, so that an input which is not quite like the others of its task
    is recognised too: nearly always, if the first gradient listed its task at all. Not in the paper; between One-Shot
    and `TopGamma`, whose later rounds change little. Among equals at the end of the list the earlier learned are
    listed, and the belief is marked as tied. The evidence is that of the second gradient; it is `-inf` for tasks that
    are not listed.

    Attributes:
        objective: what the right task makes small.
        exact: whether the first gradient compares all tasks by all weights, or those of a shortlist.
        layers: through the weights of how many parameters, from the input on, gradients are taken; None for all.
        centred: whether gradients are taken without what all weights into a neuron have in common.
        listed: how many tasks the second gradient chooses among at most, at least 2.

    Raises:
        ConfigError: fewer than 2 tasks are to be listed, or the number of layers is below 1.
    """

    listed: int = 32

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.listed < 2:
            raise ConfigError(f"a second gradient chooses among 2 tasks at least, but listed={self.listed} came")

    @property
    def averages(self) -> bool:
        return False  # each batch has a list of its own

    def infer(self, superposition: Superposition, inputs: Tensor) -> Belief:
        return self._again(superposition, [inputs], super().infer(superposition, inputs).evidence)

    def infer_each(self, superposition: Superposition, inputs: Tensor) -> Belief:
        return self._again(superposition, inputs.split(1), super().infer_each(superposition, inputs).evidence)

    def _again(self, superposition: Superposition, parts: Sequence[Tensor], first: Tensor) -> Belief:
        """Return the belief about some batches, each of one task, whose first evidence is `batches x k`."""
        names = superposition.parameters[: self.layers]
        evidence = torch.full_like(first, -torch.inf)
        tied = torch.zeros(len(first), dtype=torch.bool)
        for row, (inputs, before) in enumerate(zip(parts, first, strict=True)):
            # Stable, so that among equals the earlier learned comes first.
            order = torch.sort(before, descending=True, stable=True)
            looked_at = int((order.values > -torch.inf).sum())  # a shortlist has not looked at all
            count = min(self.listed, looked_at)
            tied[row] = bool(count < looked_at and order.values[count - 1] == order.values[count])
            among = sorted(order.indices[:count].tolist())
            evidence[row, among] = -batch_gradient(
                superposition, inputs, uniform(superposition, among), self.objective, among, names, self.centred
            )
        return decide(superposition, evidence, tied)
