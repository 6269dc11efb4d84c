"""The interface of novelty rules: does a batch continue the present task, or is it of another, or of a new one?"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from supermasks.inference import Objective
from supermasks.spec import Settings
from supermasks.streams.loss_trend import LossTrend


class Scene(Protocol):
    """What a rule can ask about a batch, before anything is learned from it."""

    @property
    def batch(self) -> int:
        """The number of the batch, from 0."""
        ...

    @property
    def names(self) -> Sequence[str]:
        """The names of all tasks, in the order in which they were opened; at least one."""
        ...

    @property
    def current(self) -> str:
        """The task of the batch before."""
        ...

    @property
    def previous(self) -> str | None:
        """The task before the current one; None if there was none, or if it was dropped."""
        ...

    def is_open(self, name: str) -> bool:
        """Return whether a task would still learn from the batch; a closed one only answers it."""
        ...

    def trend(self, name: str) -> LossTrend:
        """Return the losses of a task so far; those of a closed task stay as they are."""
        ...

    def loss(self) -> float:
        """Return the loss of the batch for the current task, in nats. It costs nothing if the task is continued."""
        ...

    def losses(self, names: Sequence[str]) -> Mapping[str, float]:
        """Return the loss of the batch for some tasks, in nats, by a forward pass for each."""
        ...

    def nearest(self, count: int) -> Sequence[str]:
        """Return so many tasks with the steepest descent of the loss at equal coefficients; all if there are fewer."""
        ...

    def evidence(self, objective: Objective, floor: int) -> Tensor:
        """Return `-dL/dalpha_i` at `alpha = 1 / max(k, floor)` for each of `k` tasks (SupSup, Equation 4).

        Args:
            objective: `L`, of the logits; it does not see labels.
            floor: if there are fewer tasks, this many masks are mixed, and the others are not trained yet.

        Returns:
            `max(k, floor)`; the masks that are not trained yet come last.
        """
        ...


@dataclass(frozen=True)
class Judged:
    """The decision of a rule.

    Attributes:
        new: whether the batch belongs to no task so far.
        nearest: the task that it belongs to, or else the task that is nearest.
        scores: what the rule compared, by task; larger is nearer.
        doubtful: how many batches before this one may have been of another task than the current one. If that task
            ends here, their losses no longer count for it. A closed task has learned none of them.
    """

    new: bool
    nearest: str
    scores: Mapping[str, float]
    doubtful: int = 0


class NoveltyRule(Settings, ABC):
    """Decides whether a task goes on, returns, or is new. Subclasses are frozen dataclasses without a state.

    A saved learner finds its rule by name, once the module of the rule is imported.
    """

    @abstractmethod
    def judge(self, scene: Scene) -> Judged | None:
        """Return the decision about a batch; None continues the current task without a look at the others."""
