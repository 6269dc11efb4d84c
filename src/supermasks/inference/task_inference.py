"""The interface of task inference, and its shared functions."""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Tensor

from supermasks.brief import brief, listed
from supermasks.errors import ConfigError, InputError, SupermasksWarning, TaskError
from supermasks.spec import Settings
from supermasks.superposition import Superposition
from supermasks.types import Belief


class Choice(NamedTuple):
    """The inference that held-out inputs speak for.

    Attributes:
        inference: that was chosen.
        compared: the share of inputs whose task each try found, by its name.
        skipped: why an inference was not tried, by its name.
    """

    inference: "TaskInference"
    compared: Mapping[str, float] = MappingProxyType({})
    skipped: Mapping[str, str] = MappingProxyType({})


class TaskInference(Settings, ABC):
    """Decides to which task unlabelled inputs belong. Subclasses are frozen dataclasses.

    An inference either uses the network with the masks of the tasks, or statistics that are computed while each task
    is learned (`statistics`).
    """

    @property
    def averages(self) -> bool:
        """Whether the evidence of a batch is the mean over its inputs (see `RunningInference`)."""
        return False

    @property
    def statistics(self) -> Settings | None:
        """The statistics to compute while each task is learned (`router.Statistics`); None if there are none."""
        return None

    @property
    def comparable(self) -> bool:
        """Whether evidence has the same scale for all inputs, as a log probability has."""
        return False

    def settled(
        self, superposition: Superposition, inputs: Tensor, tasks: Tensor, classes: Tensor, chunk: int = 1000
    ) -> "Choice":
        """Return the inference that held-out inputs speak for; by default this one.

        Args:
            superposition: the `k` tasks to choose among.
            inputs: that were not used for training, `batch x ...`.
            tasks: the index of the right task of each input, `batch`.
            classes: the index of its class in that task, `batch`.
            chunk: how many inputs are judged at once.
        """
        del superposition, inputs, tasks, classes, chunk
        return Choice(self)

    @abstractmethod
    def infer(self, superposition: Superposition, inputs: Tensor) -> Belief:
        """Return the belief about a batch whose inputs all belong to one task.

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
            a belief of `batch` rows; row `n` is `infer` on input `n` alone, up to rounding.

        Raises:
            TaskError: there are no tasks to choose among.
        """
        return Belief.joined([checked(self.infer(superposition, one[None]), self, superposition, 1) for one in inputs])


def checked(belief: object, inference: TaskInference, superposition: Superposition, rows: int) -> Belief:
    """Return what an inference returned, if it is a belief about some of the tasks.

    Args:
        belief: that was returned.
        inference: that returned it.
        superposition: the tasks that it could choose among.
        rows: how many inputs or batches it was asked about.

    Raises:
        ConfigError: it is something else, about other tasks, or its parts do not fit together.
        InputError: the evidence is NaN.
    """
    kind, names = type(inference).__name__, superposition.names
    if not isinstance(belief, Belief):
        raise ConfigError(f"{kind} must return a Belief, such as decide(superposition, evidence), got {brief(belief)}")
    k = len(belief.candidates)
    if belief.candidates != names and (len({*belief.candidates}) < k or not {*belief.candidates} <= {*names}):
        raise ConfigError(
            f"the candidates of a belief must be among the tasks {listed(names)}, each once, but {kind} returned "
            f"{listed(belief.candidates)}; return superposition.names"
        )
    for name, shape in {"alpha": (rows, k), "evidence": (rows, k), "chosen": (rows,), "tied": (rows,)}.items():
        value = getattr(belief, name)
        if not isinstance(value, Tensor) or value.shape != shape:
            got = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else brief(value)
            raise ConfigError(f"{name} of a belief must be a tensor of shape {shape}, but {kind} returned {got}")
    chosen = belief.chosen
    if chosen.dtype != torch.int64 or not bool(((chosen >= 0) & (chosen < k)).all()):
        got = f"{chosen.dtype} from {chosen.min()} to {chosen.max()}"
        raise ConfigError(f"chosen of a belief must be int64 from 0 to {k - 1}, but {kind} returned {got}")
    if bool(belief.evidence.isnan().any()):
        raise InputError(f"the evidence of {kind} is NaN for these inputs; are they scaled as in training?")
    return belief


def uniform(superposition: Superposition, among: Sequence[int] | None = None) -> Tensor:
    """Return coefficients, `k`, that sum to one: equal for the tasks `among` (None: all), 0 for the others.

    Raises:
        TaskError: there are no tasks.
    """
    if len(superposition) == 0:
        raise TaskError("expected at least one task to choose among, got none; learn a task first")
    if among is None:
        return torch.full((len(superposition),), 1 / len(superposition), dtype=torch.float32)
    alpha = torch.zeros(len(superposition), dtype=torch.float32)
    alpha[list(among)] = 1 / len(among)
    return alpha


def listed_tasks(evidence: Tensor, most: int) -> tuple[list[int], bool]:
    """Return the tasks of largest evidence in the order of learning, and whether a task just as good was left out.

    Args:
        evidence: of one input or batch, `k`; tasks with `-inf` are never listed.
        most: the largest number of tasks to list.

    Example:
        >>> listed_tasks(torch.tensor([1.0, 3.0, 2.0, 2.0]), most=2)
        ([1, 2], True)
    """
    # Stable: among equals, the task learned first comes first.
    order = torch.sort(evidence, descending=True, stable=True)
    looked_at = int((order.values > -torch.inf).sum())  # a shortlist skips some tasks
    count = min(most, looked_at)
    tied = bool(count < looked_at and order.values[count - 1] == order.values[count])
    return sorted(order.indices[:count].tolist()), tied


def decide(superposition: Superposition, evidence: Tensor, tied: Tensor | None = None, *, blank: bool = True) -> Belief:
    """Return the belief that chooses the task of largest evidence; among equals, the one learned first.

    Args:
        superposition: the `k` tasks.
        evidence: `rows x k`.
        tied: `rows`, bool, whether an earlier decision was a tie.
        blank: whether evidence of 0 for every task means that an input says nothing, which is a warning.

    Raises:
        InputError: the evidence of an input is NaN.
    """
    evidence = evidence.cpu()
    largest, chosen = evidence.max(dim=1)  # the first of the largest
    if bool(largest.isnan().any()):  # NaN wherever a task has NaN
        raise InputError("the outputs of the network are not finite for these inputs; scale them as in training")
    k = len(superposition)
    if empty := int((evidence == 0).all(dim=1).sum()) if blank and k > 1 else 0:
        warnings.warn(
            f"the evidence of {empty} of {len(evidence)} inputs is 0 for every task, so the task learned first was "
            "chosen (belief.tied is True). Are these inputs blank?",
            SupermasksWarning,
            stacklevel=2,
        )
    equals = (evidence == largest[:, None]).sum(dim=1) > 1
    alpha = torch.zeros(len(evidence), k, dtype=torch.float32).scatter_(1, chosen[:, None], 1.0)
    return Belief(superposition.names, alpha, evidence, chosen, equals if tied is None else equals | tied)
