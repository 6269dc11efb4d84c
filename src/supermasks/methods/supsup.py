"""SupSup: the weights are frozen, and the scores of a mask are trained."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from supermasks.changes import Masked, Replaced
from supermasks.masks import Mask, MaskRule, Threshold
from supermasks.methods.method import Method
from supermasks.methods.session import Learned, Lesson, Session, initial_head
from supermasks.network import Network
from supermasks.scores import InitialScores, KaimingUniform


@dataclass(frozen=True)
class SupSup(Method):
    """Learn one supermask a task: effective weights `W * h(S)`, with trained scores `S` (SupSup, Equation 1).

    If the network has a head, the task also trains its own head.

    Attributes:
        rule: the function `h` from scores to mask.
        initial: what the scores begin with; a mean over earlier tasks is SupSup's Transfer (Appendix D.5).
    """

    rule: MaskRule = field(default_factory=Threshold)
    initial: InitialScores = field(default_factory=KaimingUniform)

    @property
    def builds_on_past(self) -> bool:
        return self.writes or self.initial.uses_past

    def check(self, network: Network) -> None:
        self.rule.densities(network.shapes)

    def begin(self, lesson: Lesson) -> Session:
        return MaskSession(self, lesson)


class MaskSession(Session):
    """Trains the scores of a mask, and the head of the task if the network has one.

    Args:
        method: gives the rule and the initial scores.
        lesson: the task, and what it is learned over.
        beside: more parameters to train in the same steps.
    """

    stacks = True

    def __init__(self, method: SupSup, lesson: Lesson, beside: Mapping[str, Tensor] | None = None) -> None:
        method.check(lesson.network)
        scores = method.initial.checked(lesson.network.shapes, lesson.task.name, lesson.seed, lesson.past)
        method.rule.entries(scores)  # an error comes at once, not after the training
        super().__init__(lesson, {**scores, **initial_head(lesson), **(beside or {})})
        self.rule, self.initial = method.rule, method.initial
        self._progress = 1.0

    @property
    def scores(self) -> dict[str, Tensor]:
        """The scores of each shared weight."""
        return {name: self.parameters[name] for name in self.network.weights}

    @property
    def head(self) -> dict[str, Tensor]:
        """The head of the task."""
        return {name: self.parameters[name] for name in self.network.head_shapes(1)}

    @property
    def current(self) -> MaskRule:
        """The rule of this step. Validation computes without gradients, and with the rule of the final mask."""
        return self.rule.at(self._progress) if torch.is_grad_enabled() else self.rule

    def before_step(self, progress: float) -> None:
        self._progress = progress

    def effective(self) -> dict[str, Tensor]:
        return {**self.head, **self.current.masked(self.network.weights, self.scores), **self.buffers}

    def found(self) -> Mask:
        """Return the mask of the current scores."""
        scores = {name: value.detach().cpu() for name, value in self.scores.items()}
        return Mask.pack(self.rule.entries(scores), self.initial.drawn(self.lesson.task.name, self.lesson.seed))

    def remembered(self) -> dict[str, Tensor]:
        """Return what the next tasks may begin with."""
        scores = {name: value.detach().cpu() for name, value in self.scores.items()}
        return self.initial.remembered(scores, self.lesson.past)

    def finish(self) -> Learned:
        return Learned({**Masked.of(self.found()), **replaced(self.head)}, self.remembered())


def replaced(values: Mapping[str, Tensor]) -> dict[str, Replaced]:
    """Return the changes that replace parameters by these values."""
    return {name: Replaced(value) for name, value in values.items()}
