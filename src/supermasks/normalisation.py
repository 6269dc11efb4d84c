"""Whose statistics a layer of batch normalisation uses: those of the task, of the batch, or of the given module."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from torch import nn

from supermasks.anatomy import BATCH_NORM, INSTANCE_NORM
from supermasks.errors import ConfigError, UnsupportedModuleError

NormPolicy = Literal["per_task", "batch", "frozen"]
NORM_POLICIES: tuple[NormPolicy, ...] = ("per_task", "batch", "frozen")


def check_policy(policy: object) -> None:
    """Raise ConfigError unless this is a policy."""
    if policy not in NORM_POLICIES:
        raise ConfigError(f"norm must be one of {', '.join(map(repr, NORM_POLICIES))}, got {policy!r}")


@dataclass(frozen=True, eq=False)
class Normalisation:
    """The layers of a module that normalise by statistics, and the policy for these statistics.

    Attributes:
        policy: "per_task", "batch" or "frozen" (see `Network`).
        layers: batch and instance normalisation, in the order of the module.

    Example:
        >>> module = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)).eval()
        >>> Normalisation.of(module, "batch").policy, module[1].running_mean is None
        ('batch', True)
    """

    policy: NormPolicy
    layers: list[nn.Module]

    @classmethod
    def of(cls, module: nn.Module, policy: NormPolicy) -> "Normalisation":
        """Apply a policy to a module. With "batch", its layers lose their running statistics.

        Raises:
            UnsupportedModuleError: a layer has no running statistics, but the policy needs them.
        """
        layers: list[nn.Module] = []
        for path, layer in module.named_modules():
            if not isinstance(layer, (BATCH_NORM, *INSTANCE_NORM)):
                continue
            if policy == "batch":
                layer.track_running_stats = False
                layer.running_mean = layer.running_var = layer.num_batches_tracked = None
            elif isinstance(layer, BATCH_NORM) and layer.running_mean is None:
                raise UnsupportedModuleError(
                    f"layer {path!r} normalises by the statistics of each batch, so an answer would depend on the "
                    'rest of its batch; build it with track_running_stats=True, or accept this with norm="batch"'
                )
            layers.append(layer)
        return cls(policy, layers)

    @property
    def in_batches(self) -> bool:
        """Whether an answer depends on the other inputs of its batch."""
        return self.policy == "batch" and any(isinstance(layer, BATCH_NORM) for layer in self.layers)

    @property
    def measured(self) -> bool:
        """Whether each task has batch-norm statistics, which can be measured."""
        return self.policy == "per_task" and any(isinstance(layer, BATCH_NORM) for layer in self.layers)

    def set_mode(self, training: bool) -> None:
        """Put the layers into the mode that the policy wants, in training or in prediction."""
        for layer in self.layers:
            layer.train(training if self.policy == "per_task" else self.policy == "batch")

    @contextmanager
    def averaging(self) -> Generator[Callable[[int], None]]:
        """Let the running statistics of batch normalisation become the mean over batches.

        Yields:
            a function to call before each batch, with its number from 1.
        """
        layers = [layer for layer in self.layers if isinstance(layer, BATCH_NORM)]
        momenta = [layer.momentum for layer in layers]

        def begin(number: int) -> None:
            for layer in layers:
                layer.train()
                layer.momentum = 1 / number  # the mean of all batches so far

        try:
            yield begin
        finally:
            for layer, momentum in zip(layers, momenta, strict=True):
                layer.eval()
                layer.momentum = momentum
