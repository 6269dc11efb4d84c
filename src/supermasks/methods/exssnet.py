"""ExSSNeT and SSNeT: find a supermask, and train weights that it selects."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from supermasks.changes import Masked
from supermasks.errors import ConfigError
from supermasks.masks import Mask, MaskRule, TopK
from supermasks.methods.free_weights import FreeWeights
from supermasks.methods.session import Learned, Lesson, Session
from supermasks.methods.supsup import MaskSession, SupSup, replaced
from supermasks.owned import PRECISIONS, Precision


@dataclass(frozen=True)
class ExSSNeT(SupSup):
    """Find a supermask over the weights that earlier tasks left, and train selected weights (ExSSNeT, Section 3).

    Task `i` learns `M_i` over `W^(i-1)`. Then it trains, inside the subnetwork `W * M_i`, the weights of

        M_free = M_i - (M_1 | ... | M_(i-1))          exclusive (ExSSNeT)
        M_free = M_i                                  otherwise (SSNeT)

    and writes them into the network. Exclusive training changes no weight that an earlier task uses, so no task is
    forgotten; if no weight is free, it is SupSup. SSNeT changes weights that earlier tasks use, and forgets.

    The paper trains first the mask and then the weights. With `together`, each step trains the scores and all weights
    that may be trained; the task owns those that its mask keeps in the end. Both get all the steps, which is better at
    equal epochs.

    Attributes:
        rule: the function from scores to mask; the paper keeps 10% of each layer.
        initial: what the scores begin with.
        exclusive: train only weights that no earlier task uses.
        precision: of the stored changes of weights: "float32", "float16", "int8" or "int4".
        together: train mask and weights in the same steps.
        mask_share: the share of the training for the mask; the weights get the rest. Not used if `together`.

    Weights need larger steps than scores, so give them their own optimiser, `Training(weight_optimiser=)`. For
    photographs, SGD with Nesterov's momentum and weight decay works well.

    Raises:
        ConfigError: the share is not between 0 and 1, or the precision is unknown.
    """

    rule: MaskRule = field(default_factory=lambda: TopK(0.1))
    exclusive: bool = True
    precision: Precision = "float32"
    together: bool = False
    mask_share: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.mask_share < 1:
            raise ConfigError(f"mask_share must be between 0 and 1, got {self.mask_share}")
        if self.precision not in PRECISIONS:
            raise ConfigError(
                f"the precision of weights must be one of {', '.join(PRECISIONS)}, got {self.precision!r}"
            )

    @property
    def stages(self) -> tuple[float, ...]:
        return (1.0,) if self.together else (self.mask_share, 1 - self.mask_share)

    @property
    def writes(self) -> bool:
        return True

    @property
    def forgets(self) -> bool:
        return not self.exclusive

    def begin(self, lesson: Lesson) -> Session:
        return _Together(self, lesson) if self.together else _MaskFirst(self, lesson)

    def free(self, among: Mask, lesson: Lesson) -> Mask:
        """Return which weights of a mask may be trained."""
        if not self.exclusive:
            return among
        shapes = lesson.network.shapes
        return among - Mask.union((state.uses(shapes) for state in lesson.past.states), shapes)


class _MaskFirst(MaskSession):
    """The first stage: trains the scores."""

    stacks = False

    def __init__(self, method: ExSSNeT, lesson: Lesson) -> None:
        super().__init__(method, lesson)
        self.method = method

    def next(self) -> "Session | None":
        mask = self.found()
        free = self.method.free(mask, self.lesson)
        return _WeightsThen(self.method, self, mask, FreeWeights(free, self.network)) if free.count() else None


class _WeightsThen(Session):
    """The second stage: trains free weights that the mask selects, and the head further."""

    def __init__(self, method: ExSSNeT, first: _MaskFirst, mask: Mask, vectors: FreeWeights) -> None:
        super().__init__(first.lesson, {**first.head, **vectors.initial})
        self.buffers, self.weights, self.follows = first.buffers, tuple(vectors.initial), True
        self._method, self._mask, self._vectors, self._memory = method, mask, vectors, first.remembered()
        network, masks = self.network, Masked.of(mask)
        self._masked = {name: masks[name].applied(weight) for name, weight in network.weights.items()}

    @property
    def _head(self) -> dict[str, Tensor]:
        return {name: value for name, value in self.parameters.items() if name not in self.weights}

    def effective(self) -> dict[str, Tensor]:
        return {**self._head, **self._vectors.put(self._masked, self.parameters), **self.buffers}

    def finish(self) -> Learned:
        owned = self._vectors.owned(self._mask, self.parameters, self._method.precision, self._method.exclusive)
        return Learned({**Masked.of(self._mask), **replaced(self._head)}, self._memory, owned)


class _Together(MaskSession):
    """Trains mask and free weights in the same steps: scores get the gradient `g * W`, and weights `g * M`."""

    stacks = False

    def __init__(self, method: ExSSNeT, lesson: Lesson) -> None:
        shapes = lesson.network.shapes
        every = Mask.pack({name: torch.ones(shape, dtype=torch.bool) for name, shape in shapes.items()})
        self._vectors, self._method = FreeWeights(method.free(every, lesson), lesson.network), method
        super().__init__(method, lesson, beside=self._vectors.initial)
        self.weights = tuple(self._vectors.initial)

    def effective(self) -> dict[str, Tensor]:
        if not self.weights:
            return super().effective()
        masks, whole = self.current.masks(self.scores), self._vectors.put(self.network.weights, self.parameters)
        return {**self.head, **{name: weight * masks[name] for name, weight in whole.items()}, **self.buffers}

    def finish(self) -> Learned:
        mask = self.found()
        owned = self._vectors.owned(mask, self.parameters, self._method.precision, self._method.exclusive)
        return Learned({**Masked.of(mask), **replaced(self.head)}, self.remembered(), owned)
