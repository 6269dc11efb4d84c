"""The inputs themselves as features."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from supermasks.errors import ConfigError
from supermasks.network import Network
from supermasks.router.feature_map import FeatureMap, Function, levelled, ranges


@dataclass(frozen=True)
class Flat(FeatureMap):
    """The values of the input, as they are: `h(x) = x`.

    They are the cheapest features, and enough where tasks differ in where their inputs have which values, as permuted
    images do. All values have the same range, which is measured on the first task.

    Raises:
        ConfigError: inputs are token ids.

    Example:
        >>> Flat()
        Flat()
    """

    def fit(self, network: Network, inputs: Tensor) -> dict[str, Tensor]:
        del network
        if not inputs.is_floating_point():
            raise ConfigError("token ids are names, not values; use Tokens() or Trunk() as features")
        return {name: value.cpu() for name, value in ranges(inputs.reshape(-1, 1)).items()}

    def function(self, network: Network, shape: tuple[int, ...], fitted: Mapping[str, Tensor]) -> Function:
        del network, shape
        return lambda inputs: levelled(inputs.flatten(1), fitted)
