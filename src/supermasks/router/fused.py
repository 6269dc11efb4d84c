"""Several kinds of evidence together, weighed by what held-out inputs have shown."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from supermasks.errors import ConfigError
from supermasks.inference import TaskInference
from supermasks.inference.task_inference import decide
from supermasks.spec import Settings
from supermasks.superposition import Superposition
from supermasks.types import Belief

STEPS = 100
"""The most steps of the optimiser that fits the weights."""

PENALTY = 1e-3
"""Of the squared weights, so that evidence that is never wrong does not get an infinite one."""


@dataclass(frozen=True, kw_only=True)
class Fused(TaskInference):
    """Choose the task with the largest weighted sum of evidence, `sum_p w_p z_p`, among those that one part lists.

    `z_p` is the evidence of part `p` minus its largest among the listed tasks. If it has another scale for each input,
    it is divided by its standard deviation over these tasks. The sum is the logarithm of a probability, up to a
    constant (a conditional logit); `fitted_weights` finds the weights of largest likelihood.

    Attributes:
        parts: the first one lists tasks; the others compare these.
        weights: one for each part, 0 or more.
        listed: how many tasks are listed.

    Raises:
        ConfigError: there is no part, or not one weight of 0 or more for each; fewer than 2 tasks are listed.

    Example:
        >>> from supermasks.inference import Exhaustive, OneShot
        >>> Fused(parts=(OneShot(), Exhaustive()), weights=(1.0, 0.5)).listed
        8
    """

    parts: tuple[TaskInference, ...]
    weights: tuple[float, ...]
    listed: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        if (
            not self.parts
            or len(self.parts) != len(self.weights)
            or not all(0 <= w < float("inf") for w in self.weights)
        ):
            raise ConfigError(
                f"expected at least one part, and a weight of 0 or more for each, got {len(self.parts)} parts and "
                f"the weights {self.weights}"
            )
        if self.listed < 2:
            raise ConfigError(f"listed must be at least 2 tasks, got {self.listed}")

    @property
    def statistics(self) -> Settings | None:
        return next((part.statistics for part in self.parts if part.statistics is not None), None)

    @property
    def comparable(self) -> bool:
        return True

    def infer(self, superposition: Superposition, inputs: Tensor) -> Belief:
        belief = self.infer_each(superposition, inputs)
        if len(inputs) == 1:
            return belief
        each = belief.evidence
        lowest = each.masked_fill(each.isinf(), torch.inf).amin(dim=1, keepdim=True)
        return decide(superposition, torch.where(each.isinf(), lowest, each).mean(dim=0, keepdim=True), blank=False)

    def infer_each(self, superposition: Superposition, inputs: Tensor) -> Belief:
        lists, z, first = self.compared(superposition, inputs)
        weights = torch.tensor(self.weights, dtype=torch.float32)
        total = (weights[:, None, None] * z).sum(dim=0)
        evidence = torch.full_like(first.evidence, -torch.inf).scatter_(1, lists, total)
        return replace(decide(superposition, evidence, blank=False), strangeness=first.strangeness)

    def compared(self, superposition: Superposition, inputs: Tensor) -> tuple[Tensor, Tensor, Belief]:
        """Return which tasks are listed for each input, `z` of each part, and the belief of the first part.

        Returns:
            `batch x listed`, int64; `parts x batch x listed`; the belief.
        """
        first = self.parts[0].infer_each(superposition, inputs)
        lists = first.evidence.topk(min(self.listed, len(superposition)), dim=1).indices
        found = [first.evidence.gather(1, lists)]
        found += [part.compare(superposition, inputs, lists) for part in self.parts[1:]]
        z = [_scaled(each, part.comparable) for each, part in zip(found, self.parts, strict=True)]
        return lists, torch.stack(z), first


def fitted_weights(z: Tensor, lists: Tensor, right: Tensor) -> tuple[float, ...]:
    """Return the weights of largest likelihood in a conditional logit, each 0 or more.

    Args:
        z: `parts x inputs x listed`.
        lists: the tasks, `inputs x listed`.
        right: the right task of each input, `inputs`; inputs whose task is not listed do not count.

    Example:
        >>> z = torch.tensor([[[0.0, -2.0], [-2.0, 0.0], [0.0, -0.5]], [[0.0, -1.0], [0.0, -1.0], [0.0, -1.0]]])
        >>> lists = torch.tensor([[0, 1], [0, 1], [0, 1]])
        >>> first, second = fitted_weights(z, lists, torch.tensor([0, 1, 1]))
        >>> first > 0.5, second < 0.1
        (True, True)
    """
    rows, places = (lists == right[:, None]).nonzero(as_tuple=True)
    z = z[:, rows].double()
    scale = z.square().mean(dim=(1, 2)).sqrt().clamp(min=1e-12)
    z = z / scale[:, None, None]
    with torch.inference_mode(False), torch.enable_grad():
        z, rows = z.clone(), torch.arange(len(places))
        roots = torch.full((len(z),), 0.5, dtype=torch.float64, requires_grad=True)  # weights are their squares
        optimiser = torch.optim.LBFGS([roots], max_iter=STEPS, line_search_fn="strong_wolfe")

        def loss() -> Tensor:
            optimiser.zero_grad()
            weights = roots.square()
            logits = (weights[:, None, None] * z).sum(dim=0)
            value = -logits.log_softmax(dim=1)[rows, places].mean() + PENALTY * weights.square().mean()
            value.backward()
            return value

        if len(places):
            optimiser.step(loss)
    return tuple((roots.detach().square() / scale).tolist())


def _scaled(evidence: Tensor, comparable: bool) -> Tensor:
    """Return evidence minus the largest of each row; over its standard deviation, unless rows have the same scale."""
    if not comparable:
        spread = evidence.std(dim=1, keepdim=True, correction=0)
        evidence = torch.where(spread > 0, evidence / spread, 0.0)
    return evidence - evidence.amax(dim=1, keepdim=True)


def chosen_of(z: Tensor, lists: Tensor, weights: Sequence[float]) -> Tensor:
    """Return the task with the largest weighted sum of evidence among the listed ones, for each input.

    Args:
        z: `parts x inputs x listed`.
        lists: the tasks, `inputs x listed`.
        weights: of the parts.
    """
    total = (torch.tensor(weights, dtype=z.dtype)[:, None, None] * z).sum(dim=0)
    return lists.gather(1, total.argmax(dim=1, keepdim=True))[:, 0]
