"""Shared weights that a task may train, as one vector for each parameter."""

from collections.abc import Mapping

import torch
from torch import Tensor

from supermasks.masks import Mask
from supermasks.network import Network
from supermasks.owned import Owned, Precision

WEIGHTS = "weights of "
"""The prefix of the names of weights under training, before the names of their parameters."""


class FreeWeights:
    """Free weights as one vector for each parameter; an optimiser cannot move weights outside of it.

    Args:
        free: which weights are trained.
        network: gives their values.

    Attributes:
        mask: the free weights.
        initial: the vectors at the start of the training, by name.
    """

    def __init__(self, free: Mask, network: Network) -> None:
        counts, device = free.counts(), network.device
        self.mask, self._network = free, network
        self._places = {
            name: free[name].flatten().nonzero().flatten().to(device) for name, count in counts.items() if count
        }
        self.initial = {WEIGHTS + name: network.weights[name].flatten()[place] for name, place in self._places.items()}

    def put(self, weights: Mapping[str, Tensor], parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return weights with the values under training put in."""
        return {
            name: weight.flatten().index_copy(0, self._places[name], parameters[WEIGHTS + name]).view(weight.shape)
            if name in self._places
            else weight
            for name, weight in weights.items()
        }

    def owned(
        self, mask: Mask, parameters: Mapping[str, Tensor], precision: Precision, exclusive: bool
    ) -> Owned | None:
        """Return the trained weights that a mask keeps; None if there are none, or none has changed.

        None has changed if the mask alone was best on the validation examples.

        Args:
            mask: of the task.
            parameters: the vectors after the training, by name.
            precision: of the stored changes.
            exclusive: whether no earlier task uses a free weight.
        """
        network = self._network
        selected = mask & self.mask
        if not selected.count():
            return None
        with torch.no_grad():
            weights = {name: value.cpu() for name, value in self.put(network.weights, parameters).items()}
        if all(torch.equal(weights[name], weight.cpu()) for name, weight in network.weights.items()):
            return None
        values = {name: weights[name][selected[name]] for name in selected}
        return Owned.of(selected, network.weights.base, values, precision, exclusive)
