"""PackNet: train the weights that no earlier task uses, prune them, and train what is left."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil

import torch
from torch import Tensor

from supermasks.changes import Masked
from supermasks.errors import ConfigError
from supermasks.masks import Mask
from supermasks.methods.free_weights import WEIGHTS, FreeWeights
from supermasks.methods.method import Method
from supermasks.methods.session import Learned, Lesson, Session, initial_head
from supermasks.methods.supsup import replaced
from supermasks.owned import PRECISIONS, Precision


@dataclass(frozen=True)
class PackNet(Method):
    """Pack each task into free weights of one network, by magnitude (PackNet; Mallya and Lazebnik 2018).

    A task first trains all free weights, those that no earlier task uses, beside the weights of earlier tasks, which
    are frozen. In each layer it then keeps the free weights that are largest in magnitude, and trains these further.
    The task uses its own weights and those of all earlier tasks. So no task is forgotten. If the network has a head,
    each task has its own.

    In the paper, pruned weights start the next task from 0; here they start from the base.

    Attributes:
        keep: the share of the free weights of each layer that a task keeps, above 0 and at most 1. After `n` tasks
            `(1 - keep)^n` of the weights are free. The paper keeps 0.25 or 0.5.
        train_share: the share of the steps before the pruning.
        precision: of the stored changes of weights: "float32", "float16", "int8" or "int4".

    Raises:
        ConfigError: a share is out of its range, or the precision is unknown.
    """

    keep: float = 0.25
    train_share: float = 0.67
    precision: Precision = "float32"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.keep <= 1 or not 0 < self.train_share < 1:
            raise ConfigError(
                "PackNet takes a keep above 0 and at most 1, and a train_share between 0 and 1, got "
                f"{self.keep} and {self.train_share}"
            )
        if self.precision not in PRECISIONS:
            raise ConfigError(
                f"the precision of weights must be one of {', '.join(PRECISIONS)}, got {self.precision!r}"
            )

    @property
    def stages(self) -> tuple[float, ...]:
        return (self.train_share, 1 - self.train_share)

    @property
    def writes(self) -> bool:
        return True

    def begin(self, lesson: Lesson) -> Session:
        shapes = lesson.network.shapes
        used = Mask.union((state.uses(shapes) for state in lesson.past.states), shapes)
        every = Mask.pack({name: torch.ones(shape, dtype=torch.bool) for name, shape in shapes.items()})
        free = every - used
        if not free.count() and lesson.network.head is None:
            raise ConfigError(
                f"no weight is left for task {lesson.task.name!r}: earlier tasks use all of them; use a smaller keep, "
                "a larger network, or a head for each task"
            )
        return _Whole(self, lesson, used, FreeWeights(free, lesson.network))


class _Packed(Session):
    """Trains some weights within a mask, and the head.

    Args:
        method: the settings.
        lesson: the task, and what it is learned over.
        mask: the weights that take part.
        free: those that are trained.
        head: of the task.
    """

    def __init__(
        self, method: PackNet, lesson: Lesson, mask: Mask, free: FreeWeights, head: Mapping[str, Tensor]
    ) -> None:
        super().__init__(lesson, {**head, **free.initial})
        self.weights = tuple(free.initial)
        self._method, self._mask, self._free, masks = method, mask, free, Masked.of(mask)
        self._masked = {name: masks[name].applied(weight) for name, weight in lesson.network.weights.items()}

    @property
    def _head(self) -> dict[str, Tensor]:
        return {name: self.parameters[name] for name in self.network.head_shapes(1)}

    def effective(self) -> dict[str, Tensor]:
        return {**self._head, **self._free.put(self._masked, self.parameters), **self.buffers}

    def finish(self) -> Learned:
        owned = self._free.owned(self._mask, self.parameters, self._method.precision, exclusive=True)
        return Learned({**Masked.of(self._mask), **replaced(self._head)}, owned=owned)


class _Whole(_Packed):
    """The first stage: trains all free weights."""

    def __init__(self, method: PackNet, lesson: Lesson, used: Mask, free: FreeWeights) -> None:
        super().__init__(method, lesson, used | free.mask, free, initial_head(lesson))
        self._used = used

    def next(self) -> Session | None:
        return self._pruned()

    def finish(self) -> Learned:
        return self._pruned().finish()  # the training was ended before the second stage

    def _pruned(self) -> _Packed:
        """Return the second stage: it trains the largest of the free weights."""
        kept = {name: _largest(place, self._value(name), self._method.keep) for name, place in self._places().items()}
        mask = Mask.pack(kept)
        free = FreeWeights(mask, self.network)
        for name in free.initial:
            with torch.no_grad():
                place = kept[name.removeprefix(WEIGHTS)].to(self.network.device)
                free.initial[name] = self._value(name.removeprefix(WEIGHTS))[place]
        stage = _Packed(self._method, self.lesson, self._used | mask, free, self._head)
        stage.buffers, stage.follows = self.buffers, True
        return stage

    def _places(self) -> dict[str, Tensor]:
        return {name: self._free.mask[name] for name in self.network.weights}

    def _value(self, name: str) -> Tensor:
        with torch.no_grad():
            return self._free.put({name: self.network.weights[name]}, self.parameters)[name]


def _largest(places: Tensor, weight: Tensor, share: float) -> Tensor:
    """Return which of some weights are among the largest in magnitude, boolean.

    Args:
        places: the weights to choose among, boolean.
        weight: their values, in the same shape.
        share: of them to keep; at least one is kept.
    """
    count = ceil(share * int(places.sum()))
    sizes = torch.where(places, weight.abs().cpu(), -1.0).flatten()
    kept = torch.zeros(places.numel(), dtype=torch.bool)
    kept[sizes.topk(count).indices] = True
    return kept.view(places.shape)
