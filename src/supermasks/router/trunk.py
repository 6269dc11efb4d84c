"""The frozen network itself as features: what goes into its last layer."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from supermasks.network import Network
from supermasks.router.feature_map import FeatureMap, Function, levelled, ranges


@dataclass(frozen=True)
class Trunk(FeatureMap):
    """The input of a layer of the network with the weights of its base, `batch x features`.

    The base belongs to no task, so these features are the same for all tasks. They say most if the base is pretrained.

    Attributes:
        layer: the path of the layer in the module; None takes the head, or else the layer that is called last.

    Raises:
        ConfigError: there is no such layer, or it is not called once with one row for each input.

    Example:
        >>> Trunk(layer="classifier").layer
        'classifier'
    """

    layer: str | None = None

    def fit(self, network: Network, inputs: Tensor) -> dict[str, Tensor]:
        return {name: value.cpu() for name, value in ranges(self._values(network, inputs.to(network.device))).items()}

    def function(self, network: Network, shape: tuple[int, ...], fitted: Mapping[str, Tensor]) -> Function:
        del shape
        return lambda inputs: levelled(self._values(network, inputs), fitted)

    def _values(self, network: Network, inputs: Tensor) -> Tensor:
        with torch.inference_mode(False):
            return network.entering(inputs, self.layer)
