"""Objectives: functions of the logits that are small if the mask is right."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from supermasks.errors import ConfigError
from supermasks.spec import Settings

OfLogits = Callable[[Tensor, int], Tensor]
"""A function of logits and the number of classes, as `Objective` is one."""


class Objective(Settings, ABC):
    """Measures the lack of confidence in each output; task inference minimises it over the tasks."""

    @abstractmethod
    def __call__(self, logits: Tensor, classes: int) -> Tensor:
        """Return the objective of each input, differentiable in the logits.

        Args:
            logits: `batch x outputs`.
            classes: the number of real neurons; all outputs after them are superfluous.

        Returns:
            `batch`; smaller is more confident.
        """

    def compare(self, logits: Tensor, classes: int) -> Tensor:
        """Return the value that compares the outputs of different masks, `batch`; by default the objective."""
        return self(logits, classes)


@dataclass(frozen=True)
class Entropy(Objective):
    """The entropy of the output, `H = -sum_v p_v log p_v` in nats, `p = softmax(logits)` (SupSup, Section 3.3).

    Example:
        >>> round(float(Entropy()(torch.zeros(1, 4), classes=2).exp()), 5)
        4.0
    """

    def __call__(self, logits: Tensor, classes: int) -> Tensor:
        log_p = torch.log_softmax(logits, dim=1)
        return -(log_p.exp() * log_p).sum(dim=1)


@dataclass(frozen=True)
class SuperfluousNeurons(Objective):
    """`G = logsumexp(y)` with gradients to superfluous neurons only (SupSup, Section 3.6 and Lemma I.1).

    `dG/dy_v = p_v` for superfluous neurons `v`, as for cross-entropy in training, and 0 for real ones. The value of G
    also grows with the confidence in a real class. So masks are compared by the log probability of superfluous neurons,
    `log sum_{v superfluous} p_v`.

    Raises:
        ConfigError: the network has no superfluous neurons.

    Example:
        >>> logits = torch.zeros(1, 4, requires_grad=True)
        >>> SuperfluousNeurons()(logits, classes=2).sum().backward()
        >>> logits.grad
        tensor([[0.0000, 0.0000, 0.2500, 0.2500]])
    """

    def __call__(self, logits: Tensor, classes: int) -> Tensor:
        _require_superfluous(logits, classes)
        return torch.cat([logits[:, :classes].detach(), logits[:, classes:]], dim=1).logsumexp(dim=1)

    def compare(self, logits: Tensor, classes: int) -> Tensor:
        _require_superfluous(logits, classes)
        return logits[:, classes:].logsumexp(dim=1) - logits.logsumexp(dim=1)


@dataclass(frozen=True)
class MaxProbability(Objective):
    """`M = -max_v p_v` (SupSup, Appendix C).

    Example:
        >>> MaxProbability()(torch.zeros(1, 4), classes=2)
        tensor([-0.2500])
    """

    def __call__(self, logits: Tensor, classes: int) -> Tensor:
        return -logits.softmax(dim=1).amax(dim=1)


def _require_superfluous(logits: Tensor, classes: int) -> None:
    if logits.shape[1] <= classes:
        raise ConfigError(
            f"objective G needs more outputs than classes, got {logits.shape[1]} outputs for {classes} classes; build "
            "the network with superfluous neurons (the paper uses 100 outputs for 10 classes), or use Entropy()"
        )
