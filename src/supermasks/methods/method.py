"""What a method is: it begins a task, computes effective weights while the task is trained, and finishes it."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor

from supermasks.masks import Mask
from supermasks.network import Network


@dataclass(frozen=True, eq=False)
class Trainable:
    """What is being learned for one task.

    Attributes:
        parameters: what the optimiser changes, by the name of the maskable parameter that it belongs to.
        buffers: the buffers of the network, changed by its normalisation layers while it trains.
    """

    parameters: dict[str, Tensor]
    buffers: dict[str, Tensor]


class Method(ABC):
    """How a task becomes a mask; subclasses are frozen dataclasses."""

    @abstractmethod
    def check(self, network: Network) -> None:
        """Raise DensityError if the method cannot serve the layers of this network."""

    @abstractmethod
    def begin(self, network: Network, task: str, seed: int) -> Trainable:
        """Return what is to be trained for a new task, at its initial value.

        Args:
            network: the backbone and its base.
            task: the name of the task; with the seed it determines all random numbers.
            seed: of the learner.

        Raises:
            DensityError: the rule cannot serve the layers of this network.
        """

    @abstractmethod
    def effective(self, network: Network, trainable: Trainable) -> dict[str, Tensor]:
        """Return the effective weights and buffers for one training step, differentiable in the parameters."""

    @abstractmethod
    def finish(self, network: Network, trainable: Trainable) -> Mask:
        """Return the mask that was learned."""
