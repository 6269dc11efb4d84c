"""The network of HopSupSup, for images of 28 x 28 pixels: gates on the outputs of layers are masked, not weights."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from supermasks.bases import Base
from supermasks.experiments.architectures.architecture import Architecture
from supermasks.nets import gated_2048_2048, gates
from supermasks.network import Network
from supermasks.types import TaskStream


@dataclass(frozen=True)
class Gated2048(Architecture):
    """Two hidden layers of 2048 neurons with gates (SupSup, Appendix B.3); the tasks share the outputs."""

    name = "gated-2048-2048"

    def module(self, tasks: TaskStream, data: Path | None = None) -> nn.Module:
        del data
        return gated_2048_2048(self.outputs_for(tasks))

    def network(self, module: nn.Module, base: Base, device: str, **options: Any) -> Network:
        return super().network(module, base, device, **{"select": gates(module), "norm": "batch", **options})
