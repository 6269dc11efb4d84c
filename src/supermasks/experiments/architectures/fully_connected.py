"""The fully connected networks of SupSup (Section 4.2), for images of 28 x 28 pixels."""

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from supermasks.experiments.architectures.architecture import Architecture
from supermasks.nets import fc_1024_1024, lenet_300_100
from supermasks.types import TaskStream


@dataclass(frozen=True)
class LeNet300(Architecture):
    """LeNet 300-100."""

    name = "lenet-300-100"

    outputs: int | None = 100

    def module(self, tasks: TaskStream, data: Path | None = None) -> nn.Module:
        del data
        return lenet_300_100(self.outputs_for(tasks))


@dataclass(frozen=True)
class FC1024(Architecture):
    """FC 1024-1024."""

    name = "fc-1024-1024"

    outputs: int | None = 500

    def module(self, tasks: TaskStream, data: Path | None = None) -> nn.Module:
        del data
        return fc_1024_1024(self.outputs_for(tasks))
