"""Supermasks that stay recognisable in a superposition: some steps are made with the mask diluted by all others."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from supermasks.errors import ConfigError
from supermasks.methods.method import Trainable
from supermasks.methods.supsup import SupSup
from supermasks.network import Network
from supermasks.scores import Past
from supermasks.types import Task


@dataclass(frozen=True, eq=False)
class _Beside(Trainable):
    """Scores, and beside them for each parameter the share of weights that masks keep."""

    kept: dict[str, float] = field(default_factory=dict[str, float])


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
            raise ConfigError(f"share and beta lie between 0 and 1, but {self.share} and {self.beta} came")

    def begin(self, network: Network, task: Task, seed: int, past: Past) -> Trainable:
        begun = super().begin(network, task, seed, past)
        with torch.no_grad():
            masks = self.rule.masks({name: begun.parameters[name] for name in network.weights})
        kept = {name: float(mask.mean()) for name, mask in masks.items()}
        return _Beside(begun.parameters, begun.buffers, begun.weights, kept)

    def effective(self, network: Network, trainable: Trainable) -> dict[str, Tensor]:
        effective = super().effective(network, trainable)
        # Validation computes without gradients, with the mask as it is. The draw is from torch's generator, as those of
        # dropout are: the training seeds it for the task, and saves it with its checkpoints.
        if torch.is_grad_enabled() and float(torch.rand((), dtype=torch.float32)) < self.share:
            assert isinstance(trainable, _Beside)  # as `begin` has made it
            for name, kept in trainable.kept.items():
                others = (1 - self.beta) * kept * network.weights[name]
                effective[name] = torch.add(others, effective[name], alpha=self.beta)
        return effective
