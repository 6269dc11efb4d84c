"""The interface of initial scores, and what they may use of earlier tasks."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from supermasks.errors import ConfigError
from supermasks.masks.drawn import Drawn
from supermasks.spec import Settings
from supermasks.state import TaskState
from supermasks.types import Examples, Shapes


@dataclass(frozen=True, eq=False)
class Past:
    """The earlier tasks that a new task can learn from.

    Attributes:
        states: of the earlier tasks, in order.
        memory: tensors kept beside the states, by name; only training needs them, and a bank counts their bytes.
        examples: the training examples of the new task.
        logits: returns the logits of an earlier task; maps `batch x ...` to `batch x outputs`.
        names: of the earlier tasks.
    """

    states: Sequence[TaskState] = ()
    memory: Mapping[str, Tensor] = field(default_factory=dict[str, Tensor])
    examples: Examples | None = None
    logits: Callable[[Tensor, TaskState], Tensor] | None = None
    names: Sequence[str] = ()


class InitialScores(Settings, ABC):
    """Makes the scores that a new task begins with. Subclasses are frozen dataclasses."""

    @property
    def uses_past(self) -> bool:
        """Whether the scores depend on earlier tasks. Tasks can be learned apart only if they do not."""
        return True

    def drawn(self, task: str, seed: int) -> Drawn | None:
        """Return the random numbers that scores rise with, in each parameter; None if there are none.

        A mask of such scores takes fewer bytes, since its reader draws the same numbers again.

        Args:
            task: the name of the task.
            seed: of the learner.
        """
        del task, seed
        return None

    @abstractmethod
    def scores(self, shapes: Shapes, task: str, seed: int, past: Past) -> dict[str, Tensor]:
        """Return the scores of each parameter: new tensors, float32.

        Args:
            shapes: the shape of each masked parameter.
            task: the name of the task; it and the seed determine all random numbers.
            seed: of the learner.
            past: the earlier tasks.
        """

    def checked(self, shapes: Shapes, task: str, seed: int, past: Past) -> dict[str, Tensor]:
        """Return what `scores` returns, in the order of the shapes.

        Raises:
            ConfigError: a parameter has no scores, or scores of another shape, or there are scores of something else.
        """
        found = self.scores(shapes, task, seed, past)
        got = {name: tuple(value.shape) for name, value in found.items()}
        for name in {**shapes, **got}:
            if shapes.get(name) != got.get(name):
                raise ConfigError(
                    f"{type(self).__name__}.scores must return a tensor for each parameter of the network, in its "
                    f"shape, and no others: expected {shapes.get(name, 'none')} for {name!r}, got "
                    f"{got.get(name, 'none')}"
                )
        return {name: found[name] for name in shapes}

    def remembered(self, scores: Mapping[str, Tensor], past: Past) -> dict[str, Tensor]:
        """Return the memory after a task; empty by default.

        Args:
            scores: of each masked parameter, after training.
            past: the earlier tasks, as they were when the task began.
        """
        del scores, past
        return {}
