"""A network as a value: it is made when the tasks, and so its inputs and outputs, are known."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from torch import nn

from supermasks.bases import Base, RandomBase
from supermasks.network import Network
from supermasks.spec import Settings
from supermasks.types import TaskStream


@dataclass(frozen=True)
class Architecture(Settings, ABC):
    """The settings of a network.

    Attributes:
        name: in tables.
        outputs: real and superfluous neurons together; None for as many as the largest task has classes.
    """

    name: ClassVar[str]

    outputs: int | None = None

    @property
    def title(self) -> str:
        """A short name for tables and for the folder of a run."""
        return self.name

    @abstractmethod
    def module(self, tasks: TaskStream, data: Path | None = None) -> nn.Module:
        """Return the network for these tasks.

        Args:
            tasks: that it will learn.
            data: where a pretrained network is looked for first; None looks in the usual places only.
        """

    def outputs_for(self, tasks: TaskStream) -> int:
        """Return how many outputs the network has for these tasks."""
        return max(len(task.classes) for task in tasks) if self.outputs is None else self.outputs

    def base(self, seed: int, kept: float | None) -> Base:
        """Return the base of the fixed weights.

        Args:
            seed: of random weights.
            kept: the fraction of each layer that masks keep, 1 without masks; None where layers differ.
        """
        del kept
        return RandomBase(seed)

    def head(self, module: nn.Module) -> str:
        """Return the name of the layer that becomes the head, where each task has one of its own: the last linear."""
        return [name for name, layer in module.named_modules() if isinstance(layer, nn.Linear)][-1]

    def network(self, module: nn.Module, base: Base, device: str, **options: Any) -> Network:
        """Return the network over a base, with options of `Network`."""
        return Network(module, base, device=device, **options)
