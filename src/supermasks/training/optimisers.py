"""Optimisers as settings: small frozen values that make the torch optimiser they describe."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

import torch
from torch import Tensor

from supermasks.errors import ConfigError
from supermasks.spec import Settings

_FAR = 1e30  # a step after which `1 - smoothing ** step` is 1; adding 1 to it changes nothing

Parameters = Iterable[Tensor] | Iterable[dict[str, Any]]


class Optimiser(Settings, ABC):
    """Describes an optimiser.

    Attributes:
        learning_rate: the step size; a schedule multiplies it.
        weight_decay: pulls what is trained towards 0.

    Raises:
        ConfigError: the learning rate is not a positive number, or the weight decay is negative.
    """

    learning_rate: float
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.learning_rate < inf:
            raise ConfigError(f"a learning rate is a positive number, but {self.learning_rate} came")
        if not 0 <= self.weight_decay < inf:
            raise ConfigError(f"a weight decay is a number of at least 0, but {self.weight_decay} came")

    @abstractmethod
    def build(self, parameters: Parameters) -> torch.optim.Optimizer:
        """Return a new torch optimiser of these parameters, or groups of them as torch takes them."""


@dataclass(frozen=True)
class RMSprop(Optimiser):
    """The steps of `torch.optim.RMSprop`; its defaults are those of SupSup's experiments on MNIST (Section 4.2)."""

    learning_rate: float = 1e-4
    smoothing: float = 0.99
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.smoothing < 1:
            raise ConfigError(f"the smoothing of RMSprop must be at least 0 and below 1, got {self.smoothing}")

    def build(self, parameters: Parameters) -> torch.optim.Optimizer:
        # RMSprop is Adam without momentum and, its first step being far away, without correction of the bias. Torch
        # makes such a step in one pass over the memory for Adam only, in half the time of its own RMSprop.
        optimiser = torch.optim.Adam(
            parameters,
            lr=self.learning_rate,
            betas=(0.0, self.smoothing),
            weight_decay=self.weight_decay,
            fused=True,
        )
        for parameter in (parameter for group in optimiser.param_groups for parameter in group["params"]):
            optimiser.state[parameter] = {
                "step": torch.tensor(_FAR, dtype=torch.float32, device=parameter.device),
                "exp_avg": torch.zeros_like(parameter),
                "exp_avg_sq": torch.zeros_like(parameter),
            }
        return optimiser


@dataclass(frozen=True)
class Adam(Optimiser):
    """`torch.optim.Adam`; its defaults are those of both papers for images (SupSup, Appendix D)."""

    learning_rate: float = 1e-3
    weight_decay: float = 0.0

    def build(self, parameters: Parameters) -> torch.optim.Optimizer:
        return torch.optim.Adam(parameters, lr=self.learning_rate, weight_decay=self.weight_decay, fused=True)


@dataclass(frozen=True)
class AdamW(Optimiser):
    """`torch.optim.AdamW`: the weight decay is a step of its own, not part of the gradient."""

    learning_rate: float = 1e-3
    weight_decay: float = 0.01

    def build(self, parameters: Parameters) -> torch.optim.Optimizer:
        return torch.optim.AdamW(parameters, lr=self.learning_rate, weight_decay=self.weight_decay, fused=True)


@dataclass(frozen=True)
class SGD(Optimiser):
    """`torch.optim.SGD`."""

    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 0.0
    nesterov: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.momentum < 1:
            raise ConfigError(f"a momentum must be at least 0 and below 1, got {self.momentum}")
        if self.nesterov and self.momentum <= 0:
            raise ConfigError(f"Nesterov's steps need a momentum, but momentum={self.momentum} came")

    def build(self, parameters: Parameters) -> torch.optim.Optimizer:
        return torch.optim.SGD(
            parameters,
            lr=self.learning_rate,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            nesterov=self.nesterov,
            fused=True,
        )


class Optimisers:
    """Several torch optimisers, each of its own parameters, that make their steps as one.

    Attributes:
        members: the optimisers.
    """

    def __init__(self, members: Sequence[torch.optim.Optimizer]) -> None:
        self.members = tuple(members)

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The groups of all members, in their order."""
        return [group for member in self.members for group in member.param_groups]

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget all gradients."""
        for member in self.members:
            member.zero_grad(set_to_none)

    def step(self) -> None:
        """Make a step of each member."""
        for member in self.members:
            member.step()

    def state_dict(self) -> dict[str, Any]:
        """Return the states of all members."""
        return {"members": [member.state_dict() for member in self.members]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go to states that `state_dict` has returned."""
        for member, state in zip(self.members, state_dict["members"], strict=True):
            member.load_state_dict(state)
