"""Supermasks with three states and a scale: each weight is kept, dropped or flipped."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from supermasks.changes import Signed
from supermasks.errors import ConfigError, MaskError, TrainingError
from supermasks.masks import Drop, MaskRule
from supermasks.methods.session import Learned, Lesson, Session
from supermasks.methods.supsup import MaskSession, SupSup, replaced

SCALE = "scale of "
"""The prefix of the name of a scale under training, before the name of its parameter."""


@dataclass(frozen=True)
class SignedMasks(SupSup):
    """Learn a mask of three states and a scale for each layer: effective weights `s * T * W`.

    The rule names the weights with the lowest scores. Of these, the share `flipped` with the very lowest scores have
    `T = -1`, and the others `T = 0`. All other weights have `T = 1`. So a weight whose score falls is first dropped,
    and then flipped. Backward, `dT/dS = 1`. The scale is `s = exp(p)`: `p` begins at 0 and is trained with the scores.

    Which of these weights are flipped takes about a bit each, and a scale takes two bytes. The states are those of
    Koster et al. (2022), "Signing the Supermask: Keep, Hide, Invert".

    Attributes:
        rule: how many weights are dropped or flipped: a `Drop`, or an `Annealed` one. Over a pretrained network,
            `Drop(share=0.01)`.
        initial: what the scores begin with. Over a pretrained network, use `scores.Spread`.
        flipped: the share of these weights that is flipped, from 0 to 1.

    Raises:
        ConfigError: the rule is another one, or `flipped` is out of range.
    """

    rule: MaskRule = field(default_factory=lambda: Drop(share=0.5, by_layer=True))
    flipped: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.rule.at(1.0), Drop):
            raise ConfigError(f"expected a Drop rule, or an Annealed one, got {self.rule!r}; write Drop(share=0.01)")
        if not 0 <= self.flipped <= 1:
            raise ConfigError(f"flipped must be a share from 0 to 1, got {self.flipped}")

    def begin(self, lesson: Lesson) -> Session:
        return _SignedSession(self, lesson)


class _SignedSession(MaskSession):
    """Trains the scores of three states, the scales, and the head of the task if the network has one."""

    stacks = True

    def __init__(self, method: SignedMasks, lesson: Lesson) -> None:
        scales = {SCALE + name: torch.zeros(1, dtype=torch.float32) for name in lesson.network.weights}
        super().__init__(method, lesson, scales)
        self._flipped = method.flipped

    def effective(self) -> dict[str, Tensor]:
        weights = self.network.weights
        kept = self.current.masked(weights, self.scores)
        upright = self._upright().masked(weights, {name: score.detach() for name, score in self.scores.items()})
        # W * M + (W * M' - W): exactly W, 0 or -W, with the gradient of W * M.
        signed = {name: kept[name] + (upright[name] - weight) for name, weight in weights.items()}
        scaled = {name: value * self.parameters[SCALE + name].exp() for name, value in signed.items()}
        return {**self.head, **scaled, **self.buffers}

    def finish(self) -> Learned:
        scores = {name: value.detach().cpu() for name, value in self.scores.items()}
        kept, upright = self.rule.entries(scores), self._upright().entries(scores)
        changes = {name: self._change(name, _states(kept[name], upright[name])) for name in scores}
        return Learned({**changes, **replaced(self.head)}, self.remembered())

    def _change(self, name: str, states: Tensor) -> Signed:
        scale = float(self.parameters[SCALE + name].detach().exp())
        try:
            return Signed(states, scale)
        except MaskError as error:
            raise TrainingError(
                f"the trained scale {scale:g} of {name!r} does not fit into float16; lower the learning rate"
            ) from error

    def _upright(self) -> MaskRule:
        """Return the rule for what is not flipped, in this step."""
        rule = self.current.at(1.0)
        assert isinstance(rule, Drop)  # the method sees to it
        return rule.times(self._flipped)


def _states(kept: Tensor, upright: Tensor) -> Tensor:
    return kept.to(torch.int8) + upright.to(torch.int8) - 1
