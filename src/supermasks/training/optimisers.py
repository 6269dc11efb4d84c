"""Optimisers as settings: frozen values that build torch optimisers."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any, ClassVar

import torch
from torch import Tensor

from supermasks.errors import ConfigError
from supermasks.spec import Settings

_FAR = 1e30  # a step count so large that `1 - smoothing ** step` is 1, and adding 1 does not change it

Parameters = Iterable[Tensor] | Iterable[dict[str, Any]]


class Optimiser(Settings, ABC):
    """The settings of an optimiser.

    Attributes:
        learning_rate: the step size; a schedule multiplies it.
        weight_decay: pulls the trainable tensors towards 0.
        elementwise: whether each entry of a tensor moves by its own gradients alone, so that a step over stacked
            tensors is a step for each task (`learn_together`). Each class says it for itself: a subclass does not
            inherit it.

    Raises:
        ConfigError: the learning rate is not a positive number, or the weight decay is negative.
    """

    elementwise: ClassVar[bool] = False

    learning_rate: float
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not hasattr(self, "learning_rate"):
            raise ConfigError(
                f"{type(self).__name__} must have the field learning_rate, which schedules multiply; add a line to the "
                "class, such as `learning_rate: float = 1e-3`"
            )
        if not 0 < self.learning_rate < inf:
            raise ConfigError(f"the learning rate must be a positive number, got {self.learning_rate}")
        if not 0 <= self.weight_decay < inf:
            raise ConfigError(f"the weight decay must be at least 0, got {self.weight_decay}")

    @abstractmethod
    def build(self, parameters: Parameters) -> torch.optim.Optimizer:
        """Return a new torch optimiser of these parameters, or of torch's parameter groups."""


@dataclass(frozen=True)
class RMSprop(Optimiser):
    """The steps of `torch.optim.RMSprop`, with the defaults of SupSup on MNIST (Section 4.2)."""

    elementwise = True

    learning_rate: float = 1e-4
    smoothing: float = 0.99
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.smoothing < 1:
            raise ConfigError(f"the smoothing of RMSprop must be at least 0 and below 1, got {self.smoothing}")

    def build(self, parameters: Parameters) -> torch.optim.Optimizer:
        # RMSprop is Adam without momentum and bias correction; a large step count switches the correction off. Only
        # Adam has a fused step in torch, twice as fast as torch's RMSprop.
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
    """`torch.optim.Adam`, with the defaults of both papers for images (SupSup, Appendix D)."""

    elementwise = True

    learning_rate: float = 1e-3
    weight_decay: float = 0.0

    def build(self, parameters: Parameters) -> torch.optim.Optimizer:
        return torch.optim.Adam(parameters, lr=self.learning_rate, weight_decay=self.weight_decay, fused=True)


@dataclass(frozen=True)
class AdamW(Optimiser):
    """`torch.optim.AdamW`: weight decay is not part of the gradient."""

    elementwise = True

    learning_rate: float = 1e-3
    weight_decay: float = 0.01

    def build(self, parameters: Parameters) -> torch.optim.Optimizer:
        return torch.optim.AdamW(parameters, lr=self.learning_rate, weight_decay=self.weight_decay, fused=True)


@dataclass(frozen=True)
class SGD(Optimiser):
    """`torch.optim.SGD`.

    Example:
        >>> SGD(0.1).build([torch.zeros(1, requires_grad=True)]).param_groups[0]["momentum"]
        0.9
    """

    elementwise = True

    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 0.0
    nesterov: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.momentum < 1:
            raise ConfigError(f"the momentum must be at least 0 and below 1, got {self.momentum}")
        if self.nesterov and self.momentum <= 0:
            raise ConfigError(f"nesterov=True needs a momentum above 0, got {self.momentum}")

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
    """Several torch optimisers with different parameters, used as one.

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
        """Clear all gradients."""
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
        """Restore states from `state_dict`."""
        for member, state in zip(self.members, state_dict["members"], strict=True):
            member.load_state_dict(state)
