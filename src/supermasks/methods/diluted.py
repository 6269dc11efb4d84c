"""Supermasks that stay recognisable in a superposition: some training steps use a diluted mask."""

from dataclasses import dataclass

import torch
from torch import Tensor

from supermasks.errors import ConfigError
from supermasks.methods.session import Lesson, Session
from supermasks.methods.supsup import MaskSession, SupSup


@dataclass(frozen=True)
class Diluted(SupSup):
    """SupSup with masks that recognise their own inputs in a mixture of thousands of tasks.

    One-Shot asks how the objective changes when the mixture of all tasks moves a little towards `M_i`. Training with
    `W * M_i` alone does not prepare the mask for that. Here a small share of the steps, drawn at random, uses

        E = W * ((1 - beta) d + beta M_i)

    where `d` is the density of the layer's initial mask, which is about the mean of many masks of different tasks. Then
    even a small part of the mask makes the classes of its own inputs likely, and superfluous neurons unlikely. It costs
    a fraction of a point in accuracy, and no time.

    Attributes:
        rule: the function from scores to mask.
        initial: what the scores begin with.
        share: the share of the steps with the diluted mask.
        beta: the weight of the task's own mask in the diluted mask.

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
    """Trains a mask that is diluted in some steps."""

    stacks = False  # each task draws its own steps

    def __init__(self, method: Diluted, lesson: Lesson) -> None:
        super().__init__(method, lesson)
        self._share, self._beta = method.share, method.beta
        with torch.no_grad():
            self._kept = {name: float(mask.mean()) for name, mask in self.rule.masks(self.scores).items()}

    def effective(self) -> dict[str, Tensor]:
        effective = super().effective()
        # Validation computes without gradients, and with the mask as it is. The draw is from torch's generator, as in
        # dropout: the training seeds it for the task, and saves it in checkpoints.
        if torch.is_grad_enabled() and float(torch.rand((), dtype=torch.float32)) < self._share:
            for name, kept in self._kept.items():
                others = (1 - self._beta) * kept * self.network.weights[name]
                effective[name] = torch.add(others, effective[name], alpha=self._beta)
        return effective
