"""Several feature maps side by side."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from supermasks.errors import ConfigError
from supermasks.network import Network
from supermasks.router.feature_map import FeatureMap, Function


@dataclass(frozen=True)
class Joined(FeatureMap):
    """The features of several maps, one after the other.

    Attributes:
        maps: at least one.

    Raises:
        ConfigError: there are no maps.

    Example:
        >>> from supermasks.router import Patches, RandomFeatures
        >>> len(Joined((RandomFeatures(1000), Patches())).maps)
        2
    """

    maps: tuple[FeatureMap, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.maps:
            raise ConfigError("expected at least one feature map to join, got none")

    def fit(self, network: Network, inputs: Tensor) -> dict[str, Tensor]:
        fitted = [each.fit(network, inputs) for each in self.maps]
        return {f"{i}/{name}": value for i, each in enumerate(fitted) for name, value in each.items()}

    def function(self, network: Network, shape: tuple[int, ...], fitted: Mapping[str, Tensor]) -> Function:
        functions = [each.function(network, shape, _of(fitted, i)) for i, each in enumerate(self.maps)]
        return lambda inputs: torch.cat([function(inputs) for function in functions], dim=1)


def _of(fitted: Mapping[str, Tensor], index: int) -> dict[str, Tensor]:
    start = f"{index}/"
    return {name.removeprefix(start): value for name, value in fitted.items() if name.startswith(start)}
