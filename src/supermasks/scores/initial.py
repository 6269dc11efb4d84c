"""What initial scores are, and what of the past they may use."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from supermasks.spec import Settings
from supermasks.state import TaskState
from supermasks.types import Examples

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, eq=False)
class Past:
    """What a new task can learn from.

    Attributes:
        states: the tasks learned so far, in order.
        memory: what was remembered beside them, by name; only training needs it, and a bank counts its bytes.
        examples: the training examples of the new task.
        logits: computes what an earlier task answers to inputs, `batch x ...` to `batch x outputs`.
        names: of the tasks learned so far.
    """

    states: Sequence[TaskState] = ()
    memory: Mapping[str, Tensor] = field(default_factory=dict[str, Tensor])
    examples: Examples | None = None
    logits: Callable[[Tensor, TaskState], Tensor] | None = None
    names: Sequence[str] = ()


class InitialScores(Settings, ABC):
    """Gives the scores that a new task begins with; subclasses are frozen dataclasses."""

    @property
    def uses_past(self) -> bool:
        """Whether the scores depend on what was learned before; tasks can be learned apart only where they do not."""
        return True

    @abstractmethod
    def scores(self, shapes: Shapes, task: str, seed: int, past: Past) -> dict[str, Tensor]:
        """Return for each parameter its scores, float32, in memory of their own.

        Args:
            shapes: the shape of each masked parameter.
            task: the name of the task; with the seed it determines all random numbers.
            seed: of the learner.
            past: what was learned before.
        """

    def remembered(self, scores: Mapping[str, Tensor], past: Past) -> dict[str, Tensor]:
        """Return the memory after a task that ended with these scores; by default there is none.

        Args:
            scores: of each masked parameter, as trained.
            past: as it was when the task began.
        """
        del scores, past
        return {}
