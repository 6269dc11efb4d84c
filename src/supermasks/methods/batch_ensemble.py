"""BatchEnsemble: each task scales the inputs and outputs of every layer by its own vectors."""

from dataclasses import dataclass

import torch
from torch import Tensor

from supermasks.brief import listed
from supermasks.changes import RankOne, Replaced
from supermasks.changes.rank_one import scaled
from supermasks.errors import ConfigError
from supermasks.methods.method import Method
from supermasks.methods.session import Learned, Lesson, Session, initial_head

OUTPUTS, INPUTS = "outputs of ", "inputs of "
"""Prefixes of the names of vectors under training, before the names of their parameters."""


@dataclass(frozen=True)
class BatchEnsemble(Method):
    """Learn two vectors a layer for each task: effective weights `W * (s r^T)` (SupSup, Section 4.1 and Appendix C).

    A task costs 4 bytes for each input and each output of a layer. Where the network has a head, each task has its own.
    The task that trains `W` also trains its vectors and its head by `Training.weight_optimiser`.

    Attributes:
        first_trains: the first task of a bank also trains `W`, which is then frozen, as in Wen et al. (2020). Otherwise
            `W` keeps the values of the base ("Rand W" in SupSup's Table 2).

    Raises:
        ConfigError: for a task, if a shared weight is a single number.
    """

    first_trains: bool = True

    @property
    def writes(self) -> bool:
        return self.first_trains

    @property
    def builds_on_past(self) -> bool:
        return self.first_trains

    def begin(self, lesson: Lesson) -> Session:
        if single := [name for name, shape in lesson.network.shapes.items() if not shape]:
            raise ConfigError(
                f"BatchEnsemble scales inputs and outputs of layers, and {listed(single)} is a single number, which "
                "has neither; exclude it with select=[...]"
            )
        return _Vectors(lesson, self.first_trains and not len(lesson.past.states))


class _Vectors(Session):
    """Trains the vectors and the head of a task, and in the first task the shared weights."""

    stacks = True

    def __init__(self, lesson: Lesson, trains_weights: bool) -> None:
        weights = dict(lesson.network.weights) if trains_weights else {}
        vectors = dict[str, Tensor]()
        for name, weight in lesson.network.weights.items():
            vectors[OUTPUTS + name] = torch.ones(weight.shape[:1], dtype=torch.float32)
            vectors[INPUTS + name] = torch.ones(weight.shape[1:2] or (0,), dtype=torch.float32)
        super().__init__(lesson, {**vectors, **initial_head(lesson), **weights})
        # The first task trains everything at the rate of the weights (SupSup, Appendix D.3).
        self.weights = tuple(self.parameters) if weights else ()

    def effective(self) -> dict[str, Tensor]:
        changed = {
            name: scaled(self.parameters.get(name, weight), *self._vectors(name))
            for name, weight in self.network.weights.items()
        }
        return {**self._head, **changed, **self.buffers}

    def finish(self) -> Learned:
        shapes = self.network.shapes
        weights = {name: self.parameters[name].detach() for name in shapes if self.weights}
        vectors = {name: RankOne(*self._vectors(name), shape) for name, shape in shapes.items()}
        head = {name: Replaced(value) for name, value in self._head.items()}
        return Learned({**vectors, **head}, weights=weights or None)

    @property
    def _head(self) -> dict[str, Tensor]:
        return {name: self.parameters[name] for name in self.network.head_shapes(1)}

    def _vectors(self, name: str) -> tuple[Tensor, Tensor]:
        return self.parameters[OUTPUTS + name], self.parameters[INPUTS + name]
