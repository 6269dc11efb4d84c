"""One-Shot (SupSup, Algorithm 1): choose the task in whose direction the objective falls fastest."""

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

    The evidence is `-dL/dalpha_i`. Among thousands of tasks, reading all masks takes most of the time. With
    `exact=False` a few weights select 8 tasks, and only those are compared; the evidence of the others is `-inf`.

    Attributes:
        objective: minimised by the right task.
        exact: whether all tasks are compared by all weights.
        layers: the number of parameters, from the input on, to take the gradient through; None for all. If tasks differ
            in their inputs, as permuted images do, the first layer alone recognises more tasks than all layers.
        centred: whether to subtract from the gradient its mean over the weights of each neuron: `g_j (x_i - mean(x))`
            instead of `g_j x_i`. The mean only reflects how many weights a mask keeps. Not in the paper; it recognises
            more tasks (docs/recognising.md).

    Raises:
        ConfigError: `layers` is below 1.

    Example:
        >>> OneShot(centred=True).averages, OneShot(exact=False).averages
        (True, False)
    """

    objective: Objective = field(default_factory=Entropy)
    exact: bool = True
    layers: int | None = None
    centred: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.layers is not None and self.layers < 1:
            raise ConfigError(f"layers must be at least 1, or None for all, got {self.layers}")

    @property
    def averages(self) -> bool:
        return self.exact  # otherwise each batch has its own shortlist

    def infer(self, superposition: Superposition, inputs: Tensor) -> Belief:
        everyone, alpha = range(len(superposition)), uniform(superposition)
        if self._compares_all(superposition):
            gradient = batch_gradient(
                superposition, inputs, alpha, self.objective, everyone, self._names(superposition), self.centred
            )
            return decide(superposition, -gradient[None])
        names = self._names(superposition)
        gradients = batch_weight_gradients(superposition, inputs, alpha, self.objective, names, self.centred)
        return decide(superposition, _listed(superposition, 1, ((n, g[None]) for n, g in gradients.items())))

    def infer_each(self, superposition: Superposition, inputs: Tensor) -> Belief:
        alpha, names = uniform(superposition), self._names(superposition)
        if self._compares_all(superposition):
            return decide(
                superposition, -each_gradient(superposition, inputs, alpha, self.objective, names, self.centred)
            )
        some = each_weight_gradients(superposition, inputs, alpha, self.objective, names, self.centred)
        return decide(superposition, torch.cat([_listed(superposition, rows, gradients) for rows, gradients in some]))

    def _compares_all(self, superposition: Superposition) -> bool:
        """Return whether all tasks are compared: also where there are no masks to look up weights in."""
        return self.exact or not superposition.once(Shortlist).names

    def _names(self, superposition: Superposition) -> tuple[str, ...]:
        return superposition.parameters[: self.layers]


def _listed(superposition: Superposition, rows: int, gradients: Iterator[tuple[str, Tensor]]) -> Tensor:
    """Return the evidence of the shortlisted tasks of each row, `rows x k`; `-inf` for the others."""
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
