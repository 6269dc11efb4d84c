"""The features that usually fit, chosen by the inputs of the first task."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from supermasks.bases import PretrainedBase
from supermasks.errors import ConfigError
from supermasks.network import Network
from supermasks.router.columns import Columns
from supermasks.router.feature_map import FeatureMap, Function
from supermasks.router.joined import Joined
from supermasks.router.patches import Patches
from supermasks.router.random_features import RandomFeatures
from supermasks.router.tokens import Tokens
from supermasks.router.trunk import Trunk

LEAST_SIDE = 16
"""The smallest side of an image, in pixels, whose patches are looked at."""

MOST_VALUES = 2**14
"""Larger inputs get no random features beside patches: their random matrix would be large."""


@dataclass(frozen=True)
class Usual(FeatureMap):
    """Chooses the features by the network and by the inputs of the first task.

    A pretrained base gives its trunk; token ids give their words; images of at least 16 pixels a side give random
    features and patches side by side, or patches alone if they are large; vectors give random features of their rows
    and of their columns; everything else gives random features. The bank stores what was chosen.

    Attributes:
        seed: of the random numbers.
    """

    seed: int = 0

    def suited(self, network: Network, inputs: Tensor) -> FeatureMap:
        if isinstance(network.base, PretrainedBase):
            return Trunk()
        if inputs.dtype == torch.int64:
            return Tokens(seed=self.seed)
        if inputs.dim() == 4 and min(inputs.shape[2:]) >= LEAST_SIDE and inputs.shape[1] <= 4:
            if inputs[0].numel() > MOST_VALUES:
                return Patches(seed=self.seed)
            return Joined((RandomFeatures(800, self.seed), Patches(filters=100, seed=self.seed)))
        if inputs.dim() == 2:
            return Joined((RandomFeatures(1500, self.seed), Columns(1500, self.seed)))
        return RandomFeatures(seed=self.seed)

    def function(self, network: Network, shape: tuple[int, ...], fitted: Mapping[str, Tensor]) -> Function:
        raise ConfigError("the usual features are chosen by `suited`, on the inputs of the first task")
