"""Random features: a random layer of ReLU neurons."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from supermasks.errors import ConfigError
from supermasks.network import Network
from supermasks.router.feature_map import FeatureMap, Function
from supermasks.router.random_layer import random_layer
from supermasks.seeding import generator

HIGHEST = 4.0
"""A neuron above this value counts as this value; its input has standard deviation 1, so few are."""

ROUNDINGS = 16
"""An input that varies by fewer roundings of its largest value is constant: its mean is rounded, too."""


@dataclass(frozen=True)
class RandomFeatures(FeatureMap):
    """`h(x) = relu(z(x) V + b)`, with `z(x)` the input with mean 0 and variance 1, and `V`, `b` random.

    Only the seed is stored. Nothing is fitted, so tasks from different processes and banks have the same features.

    Attributes:
        count: the number of features.
        seed: of the random numbers.

    Raises:
        ConfigError: the count is below 1, or inputs are token ids.

    Example:
        >>> RandomFeatures(count=1000)
        RandomFeatures(count=1000, seed=0)
    """

    count: int = 3000
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.count < 1:
            raise ConfigError(f"the number of features must be at least 1, got {self.count}")
        generator(self.seed, "random features")  # reject an invalid seed

    def function(self, network: Network, shape: tuple[int, ...], fitted: Mapping[str, Tensor]) -> Function:
        del fitted
        random = generator(self.seed, "random features")
        layer = random_layer(random, prod(shape), self.count, HIGHEST, network.device)
        return lambda inputs: layer(standardised(inputs))


def standardised(inputs: Tensor) -> Tensor:
    """Return each input as a row with mean 0 and variance 1; a constant input becomes 0.

    Raises:
        ConfigError: the inputs are token ids, which have no such values.
    """
    if not inputs.is_floating_point():
        raise ConfigError("token ids have no mean; use Tokens() or Trunk() as features")
    rows = inputs.flatten(1)
    # A power of two, which changes no digit: squares of tiny and of huge values can be computed.
    largest = rows.abs().amax(dim=1, keepdim=True)
    scale = (largest.frexp().mantissa / largest).clamp(2.0**-120, 2.0**120)
    rows = rows * torch.where(largest > 0, scale, 1.0)
    rows = rows - rows.mean(dim=1, keepdim=True)
    deviation = rows.square().mean(dim=1, keepdim=True).sqrt()
    return torch.where(deviation > ROUNDINGS * torch.finfo(rows.dtype).eps, rows / deviation, 0.0)
