"""Features of inputs that belong to no task: the interface, and how features become integers."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from supermasks.arithmetic import computing_in
from supermasks.errors import InputError
from supermasks.moments import LEVELS
from supermasks.network import Network
from supermasks.spec import Settings

ROWS = 256
"""How many inputs are computed at once."""

MARGIN = 1.25
"""How much wider the range of a feature is than on the inputs it was fitted on."""

FINEST = 2e-5
"""The smallest step, as a share of the largest absolute value: rounding errors of float32 stay below it."""

Function = Callable[[Tensor], Tensor]
"""From inputs, `batch x ...`, to features, `batch x features`, float32; the useful range is -127 to 127."""


class FeatureMap(Settings, ABC):
    """From inputs to features that are the same for all tasks; subclasses are frozen dataclasses.

    A map is a seed and a few numbers. It may fit something on the inputs of the first task, such as the range of each
    feature. That is stored once for all tasks, and never changes.
    """

    def suited(self, network: Network, inputs: Tensor) -> "FeatureMap":
        """Return the map that is used for such inputs: this one, unless it chooses among several.

        Args:
            network: that the tasks are learned over.
            inputs: some of the training inputs of the first task, `inputs x ...`.
        """
        del network, inputs
        return self

    def fit(self, network: Network, inputs: Tensor) -> dict[str, Tensor]:
        """Return what is fitted on inputs of the first task, by name; by default nothing.

        Args:
            network: that the tasks are learned over.
            inputs: some of the training inputs, `inputs x ...`.
        """
        del network, inputs
        return {}

    @abstractmethod
    def function(self, network: Network, shape: tuple[int, ...], fitted: Mapping[str, Tensor]) -> Function:
        """Return the function that computes the features.

        Args:
            network: that the tasks are learned over.
            shape: of one input.
            fitted: what `fit` returned.

        Raises:
            ConfigError: there are no such features of such inputs.
        """


@dataclass(frozen=True, eq=False)
class Features:
    """A feature map for the inputs of one network, with what it has fitted.

    Attributes:
        network: that the tasks are learned over.
        function: computes the features.
    """

    network: Network
    function: Function

    def __call__(self, inputs: Tensor) -> Tensor:
        """Return the features of inputs, `batch x features`: integers from -127 to 127, as float32 on the CPU.

        Features are rounded. So rounding errors of float32, which depend on the batch, rarely change one, and by 1.

        Args:
            inputs: `batch x ...`.

        Raises:
            InputError: a feature is NaN.
        """
        return self.rounded(inputs).clamp_(-LEVELS, LEVELS)

    def rounded(self, inputs: Tensor) -> Tensor:
        """Return the features before they are clipped to the range from -127 to 127.

        Raises:
            InputError: a feature is NaN.
        """
        device = self.network.device
        with torch.no_grad(), computing_in(torch.float32, device):
            parts = [self.function(part.to(device)).round_() for part in inputs.split(ROWS)]
        found = torch.cat(parts).cpu()
        if bool(found.isnan().any()):
            raise InputError("the features of the inputs are not finite; scale the inputs as in training")
        return found


def ranges(values: Tensor, names: str = "") -> dict[str, Tensor]:
    """Return the centre and the step of each feature, from its values on some inputs.

    Args:
        values: `inputs x features`.
        names: precedes the names.
    """
    low, high = values.amin(dim=0), values.amax(dim=0)
    # A feature may be constant on the first task, but not on others.
    least = (torch.maximum(low.abs(), high.abs()) * FINEST).clamp(min=1e-12)
    step = torch.maximum((high - low) * MARGIN / (2 * LEVELS), least)
    return {f"{names}centre": (low + high) / 2, f"{names}step": step}


def levelled(values: Tensor, fitted: Mapping[str, Any], names: str = "") -> Tensor:
    """Return features in units of their steps, around 0; the inverse of what `ranges` measured."""
    device = values.device
    return (values - fitted[f"{names}centre"].to(device)) / fitted[f"{names}step"].to(device)
