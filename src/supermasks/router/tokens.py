"""Features of texts by their words: hashed counts of token ids."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from supermasks.errors import ConfigError
from supermasks.moments import LEVELS
from supermasks.network import Network
from supermasks.router.feature_map import FeatureMap, Function
from supermasks.seeding import generator

HIGHEST = 0.5
"""A share of the length of the vector above which a count counts no more."""


@dataclass(frozen=True)
class Tokens(FeatureMap):
    """Square roots of how often the tokens of each of `count` random groups occur, as a vector of length 1.

    Every token id falls into one group, chosen by the seed. Token 0 is taken as padding and not counted.

    Attributes:
        count: the number of groups, which are the features.
        seed: of the groups.

    Raises:
        ConfigError: the count is below 1, or inputs are not token ids.

    Example:
        >>> Tokens(count=2000)
        Tokens(count=2000, seed=0)
    """

    count: int = 2000
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.count < 1:
            raise ConfigError(f"the number of groups must be at least 1, got {self.count}")
        generator(self.seed, "tokens")  # reject an invalid seed

    def function(self, network: Network, shape: tuple[int, ...], fitted: Mapping[str, Tensor]) -> Function:
        del fitted, network, shape
        # Multiply, add, and take the remainder: different ids rarely share more than chance would have it.
        prime = 2**31 - 1
        factor, offset = (int(each) for each in generator(self.seed, "tokens").integers(1, prime, 2))

        def features(inputs: Tensor) -> Tensor:
            if inputs.is_floating_point():
                raise ConfigError("expected token ids (int64) for the features of tokens, got floats; use Flat()")
            ids = inputs.flatten(1)
            groups = ((ids % prime) * factor + offset) % prime % self.count
            counts = torch.zeros(len(ids), self.count, dtype=torch.float32, device=ids.device)
            counts.scatter_add_(1, groups, (ids != 0).float())
            roots = counts.sqrt()
            return roots / roots.norm(dim=1, keepdim=True).clamp(min=1.0) * (LEVELS / HIGHEST)

        return features
