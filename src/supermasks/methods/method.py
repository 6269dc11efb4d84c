"""What a method is: it begins a task, computes effective weights while the task is trained, and finishes it."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from math import prod, sqrt

import numpy as np
import torch
from torch import Tensor

from supermasks.masks import Mask
from supermasks.network import Network
from supermasks.owned import Owned
from supermasks.scores import Past
from supermasks.seeding import stream
from supermasks.spec import Settings
from supermasks.types import Task

NO_MASK = Mask({}, {})


@dataclass(frozen=True, eq=False)
class Trainable:
    """What is being learned for one task.

    Attributes:
        parameters: what the optimiser changes, by the name of the parameter that it belongs to.
        buffers: the buffers of the network, changed by its normalisation layers while it trains.
        weights: the names of those parameters that are weights beside a mask: they may have an optimiser of their own.
    """

    parameters: dict[str, Tensor]
    buffers: dict[str, Tensor]
    weights: Collection[str] = ()


@dataclass(frozen=True, eq=False)
class Learned:
    """What is kept of a trained task.

    Attributes:
        mask: of the parameters that the task masks.
        dense: the weights that the task has of its own.
        memory: what the next tasks may begin with; it is no part of the task.
        owned: the weights that the task has trained, if any.
    """

    mask: Mask
    dense: Mapping[str, Tensor] = field(default_factory=dict[str, Tensor])
    memory: Mapping[str, Tensor] = field(default_factory=dict[str, Tensor])
    owned: Owned | None = None

    def without(self, names: Collection[str], shapes: Mapping[str, tuple[int, ...]]) -> "Learned":
        """Return this with the weights of some parameters kept whole, which costs nothing, and none of them owned.

        Args:
            names: of the parameters.
            shapes: of all that can be masked, in their order.
        """
        if not names:
            return self
        kept = {
            name: torch.ones(shape, dtype=torch.bool) if name in names else self.mask[name]
            for name, shape in shapes.items()
            if name in names or name in self.mask
        }
        dense = {name: value for name, value in self.dense.items() if name not in names}
        owned = None if self.owned is None else self.owned.without(names)
        return replace(self, mask=Mask.pack(kept), dense=dense, owned=owned)


class Method(Settings, ABC):
    """How a task becomes a state; subclasses are frozen dataclasses."""

    @property
    def stages(self) -> tuple[float, ...]:
        """The trainings of a task, one after the other: of each, its share of the steps; a single one by default."""
        return (1.0,)

    @property
    def writes(self) -> bool:
        """Whether a task writes weights into the network, on which the tasks after it build."""
        return False

    @property
    def builds_on_past(self) -> bool:
        """Whether a task depends on what those before it have left; only where none does, they are learned apart."""
        return True

    def check(self, network: Network) -> None:
        """Raise DensityError if the method cannot serve the layers of this network."""
        del network

    @abstractmethod
    def begin(self, network: Network, task: Task, seed: int, past: Past) -> Trainable:
        """Return what is to be trained for a new task, at its initial value.

        Args:
            network: the backbone and its base.
            task: its name determines, with the seed, all random numbers.
            seed: of the learner.
            past: what was learned before.

        Raises:
            DensityError: the rule cannot serve the layers of this network.
        """

    def following(self, network: Network, trainable: Trainable, past: Past) -> Trainable | None:
        """Return what the next stage trains; None if there is nothing to train, so that it is left out.

        Args:
            network: the backbone and its base.
            trainable: what the stage before has trained.
            past: what was learned before.
        """
        del network, trainable, past
        return None

    @abstractmethod
    def effective(self, network: Network, trainable: Trainable) -> dict[str, Tensor]:
        """Return the effective weights and buffers for one training step, differentiable in the parameters."""

    @abstractmethod
    def finish(self, network: Network, trainable: Trainable, past: Past) -> Learned:
        """Return what was learned."""


def initial_head(network: Network, task: Task, seed: int) -> dict[str, Tensor]:
    """Return the values of a new head: weights uniform in `+-1 / sqrt(fan_in)`, as in a linear layer, and biases 0."""
    heads: dict[str, Tensor] = {}
    for name, shape in network.head_shapes(len(task.classes)).items():
        value = np.zeros(shape, dtype=np.float32)
        if len(shape) > 1:
            value = 2 * stream(seed, "head", task.name, name).random(shape, dtype=np.float32) - 1
            value *= np.float32(1 / sqrt(prod(shape[1:])))
        heads[name] = torch.from_numpy(value)
    return heads


def trainable_on(network: Network, parameters: Mapping[str, Tensor]) -> Trainable:
    """Return these parameters as leaves on the device of the network, with fresh buffers."""
    leaves = {name: value.to(network.device, torch.float32).requires_grad_() for name, value in parameters.items()}
    return Trainable(leaves, network.fresh_buffers())
