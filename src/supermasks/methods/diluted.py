"""Supermasks that stay recognisable in a superposition: some steps are made with the mask diluted by all others."""

from dataclasses import dataclass

import torch
from torch import Tensor

from supermasks.errors import ConfigError
from supermasks.methods.session import Lesson, Session
from supermasks.methods.supsup import MaskSession, SupSup


@dataclass(frozen=True)
class Diluted(SupSup):
    """SupSup whose masks say, in a mixture of thousands, which inputs are theirs.

    One-Shot asks how the objective changes when the mixture of all tasks moves a little towards `M_i`. A training that
    only ever sees `W * M_i` itself does not care. Here a small share of the steps, drawn at random, is made with

        E = W * ((1 - beta) d + beta M_i)

    where `d` is the share of weights that the initial mask keeps of the layer: what the mean of many masks of different
    tasks comes to. Then already a little of the mask makes the classes of its own inputs likely, and superfluous
    neurons unlikely. It costs a fraction of a point in accuracy, and nothing in time.

    Attributes:
        rule: the function from scores to mask.
        initial: what the scores begin with.
        share: of the steps that are made with the diluted mask.
        beta: how much of it is the task's own.

    Raises:
        ConfigError: a number is not between 0 and 1.
    """

    share: float = 0.06
    beta: float = 0.35

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (0 < self.share < 1 and 0 < self.beta < 1):
            raise ConfigError(f"share and beta must be between 0 and 1, got {self.share} and {self.beta}")

    def begin(self, lesson: Lesson) -> Session:
        return _Dilution(self, lesson)


class _Dilution(MaskSession):
    """A mask that is diluted in some steps."""

    stacks = False  # which steps these are is drawn for each task

    def __init__(self, method: Diluted, lesson: Lesson) -> None:
        super().__init__(method, lesson)
        self._share, self._beta = method.share, method.beta
        with torch.no_grad():
            self._kept = {name: float(mask.mean()) for name, mask in self.rule.masks(self.scores).items()}

    def effective(self) -> dict[str, Tensor]:
        effective = super().effective()
        # Validation computes without gradients, with the mask as it is. The draw is from torch's generator, as those of
        # dropout are: the training seeds it for the task, and saves it with its checkpoints.
        if torch.is_grad_enabled() and float(torch.rand((), dtype=torch.float32)) < self._share:
            for name, kept in self._kept.items():
                others = (1 - self._beta) * kept * self.network.weights[name]
                effective[name] = torch.add(others, effective[name], alpha=self._beta)
        return effective
