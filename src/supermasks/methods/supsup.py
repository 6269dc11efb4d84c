"""SupSup: the weights stay as they are, the scores of a mask are trained."""

from dataclasses import dataclass, field
from math import prod, sqrt

import numpy as np
import torch
from torch import Tensor

from supermasks.masks import Mask, MaskRule, Threshold
from supermasks.methods.method import Method, Trainable
from supermasks.network import Network
from supermasks.seeding import stream


@dataclass(frozen=True)
class SupSup(Method):
    """Learn one supermask a task: effective weights `W * h(S)`, with trained scores `S` (SupSup, Equation 1).

    Scores begin uniform in `+-1 / sqrt(fan_in)`, from a random stream of their own for each task and parameter.

    Attributes:
        rule: the function `h` from scores to mask.
    """

    rule: MaskRule = field(default_factory=Threshold)

    def check(self, network: Network) -> None:
        self.rule.check(network.shapes)

    def begin(self, network: Network, task: str, seed: int) -> Trainable:
        self.check(network)
        scores = {name: _initial_scores(shape, seed, task, name) for name, shape in network.shapes.items()}
        return Trainable({name: s.requires_grad_() for name, s in scores.items()}, network.fresh_buffers())

    def effective(self, network: Network, trainable: Trainable) -> dict[str, Tensor]:
        masks = self.rule.masks(trainable.parameters)
        return {**{name: weight * masks[name] for name, weight in network.weights.items()}, **trainable.buffers}

    def finish(self, network: Network, trainable: Trainable) -> Mask:
        with torch.no_grad():
            return Mask.pack({name: mask > 0.5 for name, mask in self.rule.masks(trainable.parameters).items()})


def _initial_scores(shape: tuple[int, ...], seed: int, task: str, name: str) -> Tensor:
    bound = np.float32(1 / sqrt(prod(shape[1:])))
    drawn = stream(seed, "scores", task, name).random(shape, dtype=np.float32)
    return torch.from_numpy((2 * drawn - 1) * bound)
