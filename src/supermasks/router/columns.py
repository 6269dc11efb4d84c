"""Features of vectors: a random layer over columns that are each in units of their own."""

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

HIGHEST = 16.0
"""A neuron above this value counts as this value; on the first task few are above 3."""

NEAR = 3.0
"""Up to about so many deviations from its centre a column counts as it is, and beyond by its logarithm."""

LEAST = 1e-3
"""The smallest unit of a column, as a share of its largest absolute value: it may vary on later tasks only."""


@dataclass(frozen=True)
class Columns(FeatureMap):
    """`h(x) = relu(z(x) V + b)`, with `V`, `b` random, and `z(x)` the columns of the input in units of their own.

        z = 3 asinh((x - centre) / (3 deviation))

    Centre and deviation of each column are those of the first task. Near its centre a column counts as it is, and far
    away by its logarithm. So tasks whose values lie far apart are told apart, whatever the units of the columns are.
    A constant column takes a thousandth of its value as its deviation. A column of zeros takes the smallest deviation
    of the other columns, but at most 1. So large values do not hide a flag that only later tasks have.

    Attributes:
        count: the number of features.
        seed: of the random numbers.

    Raises:
        ConfigError: the count is below 1, or inputs are token ids or of another size than those of the first task.

    Example:
        >>> Columns(count=1000)
        Columns(count=1000, seed=0)
    """

    count: int = 3000
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.count < 1:
            raise ConfigError(f"the number of features must be at least 1, got {self.count}")
        generator(self.seed, "columns")  # reject an invalid seed

    def fit(self, network: Network, inputs: Tensor) -> dict[str, Tensor]:
        del network
        if not inputs.is_floating_point():
            raise ConfigError("token ids are names, not values; use Tokens() or Trunk() as features")
        columns = inputs.flatten(1).double()
        unit = torch.maximum(columns.std(dim=0, correction=0), LEAST * columns.abs().amax(dim=0))
        zeros = unit == 0
        unit[zeros] = torch.where(zeros, 1.0, unit).amin()
        unit = unit.clamp(min=torch.finfo(torch.float32).tiny)
        return {"centre": columns.mean(dim=0).float().cpu(), "unit": unit.float().cpu()}

    def function(self, network: Network, shape: tuple[int, ...], fitted: Mapping[str, Tensor]) -> Function:
        centre, unit = (fitted[name].to(network.device) for name in ("centre", "unit"))
        if prod(shape) != len(centre):
            raise ConfigError(f"expected {len(centre)} values in each input as in the first task, got shape {shape}")
        layer = random_layer(generator(self.seed, "columns"), len(centre), self.count, HIGHEST, network.device)
        return lambda inputs: layer(NEAR * torch.asinh((inputs.flatten(1) - centre) / (NEAR * unit)))
