"""Supermasks that stay recognisable in a superposition: some steps are made with the mask diluted by the others."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from supermasks.errors import ConfigError
from supermasks.methods.method import Trainable
from supermasks.methods.supsup import SupSup
from supermasks.network import Network
from supermasks.scores import KaimingUniform, Past
from supermasks.scores.initial import InitialScores
from supermasks.types import Task


@dataclass(frozen=True, eq=False)
class _Beside(Trainable):
    """Scores, and the weights under the mask that all tasks begin with."""

    common: dict[str, Tensor] = field(default_factory=dict[str, Tensor])


@dataclass(frozen=True)
class Diluted(SupSup):
    """SupSup whose masks say, in a mixture of thousands, which inputs are theirs.

    One-Shot asks how the objective changes when the mixture of all tasks moves a little towards `M_i`. A training that
    only ever sees `W * M_i` itself does not care. Here a small share of the steps, drawn at random, is made with

        E = W * ((1 - beta) M_0 + beta M_i)

    where `M_0` is the mask that all tasks begin with, which is about what the mean of many masks is. Then already a
    little of the mask makes its own inputs' classes likely, and superfluous neurons unlikely: what objective G
    measures. It costs a fraction of a point in accuracy, and nothing in time.

    Attributes:
        initial: what the scores begin with, the same for all tasks.
        share: of the steps that are made with the diluted mask.
        beta: how much of it is the task's own.

    Raises:
        ConfigError: a number is not between 0 and 1, or tasks begin with different scores.
    """

    initial: InitialScores = field(default_factory=lambda: KaimingUniform(shared=True))
    share: float = 0.04
    beta: float = 0.25

    def __post_init__(self) -> None:
        if not (0 < self.share < 1 and 0 < self.beta < 1):
            raise ConfigError(f"share and beta lie between 0 and 1, but {self.share} and {self.beta} came")
        if not (isinstance(self.initial, KaimingUniform) and self.initial.shared):
            raise ConfigError(
                "a mask is diluted by what all masks begin with, so that they must begin alike: "
                f"initial=KaimingUniform(shared=True), but {self.initial} came"
            )

    def begin(self, network: Network, task: Task, seed: int, past: Past) -> Trainable:
        begun = super().begin(network, task, seed, past)
        with torch.no_grad():
            common = self.rule.masked(network.weights, {name: begun.parameters[name] for name in network.weights})
        return _Beside(begun.parameters, begun.buffers, begun.rates, {n: value.clone() for n, value in common.items()})

    def effective(self, network: Network, trainable: Trainable) -> dict[str, Tensor]:
        effective = super().effective(network, trainable)
        # Validation computes without gradients, with the mask as it is. The draw is from torch's generator, as those of
        # dropout are: the training seeds it for the task, and saves it with its checkpoints.
        if torch.is_grad_enabled() and float(torch.rand(())) < self.share:
            assert isinstance(trainable, _Beside)  # as `begin` has made it
            diluted = {name: common.lerp(effective[name], self.beta) for name, common in trainable.common.items()}
            effective = {**effective, **diluted}
        return effective
