"""What a task-inference algorithm is, and what they share."""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from supermasks.errors import InputError, SupermasksWarning, TaskError
from supermasks.inference.objectives import Objective
from supermasks.spec import Settings
from supermasks.superposition import Superposition
from supermasks.types import Belief


class TaskInference(Settings, ABC):
    """Decides to which task unlabelled inputs belong; subclasses are frozen dataclasses.

    Attributes:
        objective: what the right task makes small.
    """

    objective: Objective

    @property
    def averages(self) -> bool:
        """Whether the evidence about a batch is the mean of that about each of its inputs (see `RunningInference`)."""
        return False

    @abstractmethod
    def infer(self, superposition: Superposition, inputs: Tensor) -> Belief:
        """Return the belief about inputs that all belong to one task.

        Args:
            superposition: the `k` tasks to choose among.
            inputs: `batch x ...`.

        Returns:
            a belief of one row.

        Raises:
            TaskError: there are no tasks to choose among.
        """

    def infer_each(self, superposition: Superposition, inputs: Tensor) -> Belief:
        """Return the belief about each input by itself.

        Args:
            superposition: the `k` tasks to choose among.
            inputs: `batch x ...`.

        Returns:
            a belief of `batch` rows, row `n` that of `infer` on input `n` alone, up to rounding.

        Raises:
            TaskError: there are no tasks to choose among.
        """
        return Belief.joined([self.infer(superposition, one[None]) for one in inputs])


def uniform(superposition: Superposition, among: Sequence[int] | None = None) -> Tensor:
    """Return coefficients, `k`, that are equal for the tasks `among` (all if None), 0 for others, and sum to one.

    Raises:
        TaskError: there are no tasks at all.
    """
    if len(superposition) == 0:
        raise TaskError("there is no task to choose among; learn at least one task first")
    if among is None:
        return torch.full((len(superposition),), 1 / len(superposition), dtype=torch.float32)
    alpha = torch.zeros(len(superposition), dtype=torch.float32)
    alpha[list(among)] = 1 / len(among)
    return alpha


def decide(superposition: Superposition, evidence: Tensor, tied: Tensor | None = None) -> Belief:
    """Return the belief that puts all on the task of largest evidence, the earliest of equals.

    Args:
        superposition: the `k` tasks.
        evidence: `rows x k`.
        tied: `rows`, bool: where an earlier decision was between equals.

    Raises:
        InputError: the evidence is not a number for some inputs.
    """
    evidence = evidence.cpu()
    if bool(evidence.isnan().any()):
        raise InputError("the outputs of the network are not finite for these inputs; are they scaled as in training?")
    k = len(superposition)
    if empty := int((evidence == 0).all(dim=1).sum()) if k > 1 else 0:
        warnings.warn(
            f"nothing tells the task of {empty} of {len(evidence)} inputs: their evidence is 0 for every task, so the "
            "task learned first was chosen (belief.tied is True). Are these inputs blank?",
            SupermasksWarning,
            stacklevel=2,
        )
    largest = evidence == evidence.amax(dim=1, keepdim=True)
    chosen = torch.where(largest, torch.arange(k), k).amin(dim=1)
    equals = largest.sum(dim=1) > 1
    alpha = torch.nn.functional.one_hot(chosen, k).to(torch.float32)
    return Belief(superposition.names, alpha, evidence, chosen, equals if tied is None else equals | tied)
