"""One-Shot (SupSup, Algorithm 1): the task in whose direction the objective falls fastest."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain

import torch
from torch import Tensor

from supermasks.errors import ConfigError
from supermasks.inference.gradients import (
    batch_gradient,
    batch_weight_gradients,
    each_gradient,
    each_weight_gradients,
)
from supermasks.inference.objectives import Entropy, Objective
from supermasks.inference.shortlist import Shortlist
from supermasks.inference.task_inference import TaskInference, decide, uniform
from supermasks.superposition import Superposition
from supermasks.types import Belief


@dataclass(frozen=True)
class OneShot(TaskInference):
    """Choose `argmax_i (-dL/dalpha_i)` at `alpha = 1/k`, from a single gradient (SupSup, Equation 4).

    The evidence is `-dL/dalpha_i`. Among thousands of tasks most of the time goes into reading all masks. Where it need
    not be exact, a few weights decide which 8 tasks are compared; the evidence of the others is `-inf`.

    Attributes:
        objective: what the right task makes small.
        exact: whether all tasks are compared by all weights.
        layers: through the weights of how many parameters, from the input on, the gradient is taken; None for all.
            Where tasks differ in their inputs, as permuted images do, the first one alone finds more than all.
        centred: whether the gradient is taken without what all weights into a neuron have in common, `g_j (x_i -
            mean(x))` instead of `g_j x_i`. That part only says how many weights a mask keeps, and how the right task
            does not stand out. Not in the paper; it finds more tasks (docs/recognising.md).

    Raises:
        ConfigError: the number of layers is below 1.
    """

    objective: Objective = field(default_factory=Entropy)
    exact: bool = True
    layers: int | None = None
    centred: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.layers is not None and self.layers < 1:
            raise ConfigError(f"the gradient is taken through at least 1 layer, but layers={self.layers} came")

    @property
    def averages(self) -> bool:
        return self.exact  # otherwise each batch has a list of its own

    def infer(self, superposition: Superposition, inputs: Tensor) -> Belief:
        everyone, alpha = range(len(superposition)), uniform(superposition)
        if self.exact:
            gradient = batch_gradient(
                superposition, inputs, alpha, self.objective, everyone, self._names(superposition), self.centred
            )
            return decide(superposition, -gradient[None])
        names = self._names(superposition)
        gradients = batch_weight_gradients(superposition, inputs, alpha, self.objective, names, self.centred)
        return decide(superposition, _listed(superposition, 1, ((n, g[None]) for n, g in gradients.items())))

    def infer_each(self, superposition: Superposition, inputs: Tensor) -> Belief:
        alpha, names = uniform(superposition), self._names(superposition)
        if self.exact:
            return decide(
                superposition, -each_gradient(superposition, inputs, alpha, self.objective, names, self.centred)
            )
        some = each_weight_gradients(superposition, inputs, alpha, self.objective, names, self.centred)
        return decide(superposition, torch.cat([_listed(superposition, rows, gradients) for rows, gradients in some]))

    def _names(self, superposition: Superposition) -> tuple[str, ...]:
        return superposition.parameters[: self.layers]


def _listed(superposition: Superposition, rows: int, gradients: Iterator[tuple[str, Tensor]]) -> Tensor:
    """Return the evidence, `rows x k`, of the tasks that are on the list of each row."""
    shortlist = superposition.once(Shortlist)
    held = dict[str, Tensor]()
    for name, gradient in gradients:
        held[name] = gradient
        if held.keys() >= set(shortlist.names):
            break
    evidence = torch.full((rows, len(superposition)), -torch.inf, dtype=torch.float32)
    lists = list(shortlist.candidates(held))
    for row, found in enumerate(superposition.contract_listed(chain(held.items(), gradients), lists)):
        evidence[row, lists[row]] = -found
    return evidence
