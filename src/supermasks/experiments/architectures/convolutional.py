"""Convolutional networks, for images of any size."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from supermasks.bases import Base
from supermasks.experiments.architectures.architecture import Architecture
from supermasks.nets import conv4, conv6, lenet5, resnet18, resnet50
from supermasks.network import Network
from supermasks.types import TaskStream

NARROWEST = 8
"""Below this width, torch 2.13 corrupts memory if a ResNet-18 learns on a CPU with channels last."""


@dataclass(frozen=True)
class Convolutional(Architecture, ABC):
    """A network over images, with channels last in memory where torch computes rightly with them."""

    def module(self, tasks: TaskStream, data: Path | None = None) -> nn.Module:
        del data
        channels, _, size = tasks[0].train.shape
        return self.build(self.outputs_for(tasks), channels, size)

    @abstractmethod
    def build(self, outputs: int, channels: int, size: int) -> nn.Module:
        """Return the network for images with so many channels, of so many pixels each way."""

    def network(self, module: nn.Module, base: Base, device: str, **options: Any) -> Network:
        return super().network(module, base, device, channels_last=self.channels_last, **options)

    @property
    def channels_last(self) -> bool:
        """Whether to compute with channels last in memory."""
        return True


@dataclass(frozen=True)
class ResNet18(Convolutional):
    """The narrow ResNet-18 of both papers.

    Attributes:
        width: channels of the stem and the first stage.
    """

    name = "resnet-18"

    width: int = 20

    def build(self, outputs: int, channels: int, size: int) -> nn.Module:
        return resnet18(outputs, self.width, channels)

    @property
    def channels_last(self) -> bool:
        return self.width >= NARROWEST


@dataclass(frozen=True)
class ResNet50(Convolutional):
    """ResNet-50, with the stem of ImageNet for images above 64 pixels."""

    name = "resnet-50"

    def build(self, outputs: int, channels: int, size: int) -> nn.Module:
        return resnet50(outputs, "imagenet" if size > 64 else "tiny-imagenet", channels)


@dataclass(frozen=True)
class LeNet5(Convolutional):
    """LeNet-5, small enough for a CPU."""

    name = "lenet-5"

    def build(self, outputs: int, channels: int, size: int) -> nn.Module:
        return lenet5(outputs, channels, size)


@dataclass(frozen=True)
class Conv4(Convolutional):
    """Two pairs of convolutions, each followed by pooling."""

    name = "conv-4"

    def build(self, outputs: int, channels: int, size: int) -> nn.Module:
        return conv4(outputs, channels, size)


@dataclass(frozen=True)
class Conv6(Convolutional):
    """Three pairs of convolutions, each followed by pooling."""

    name = "conv-6"

    def build(self, outputs: int, channels: int, size: int) -> nn.Module:
        return conv6(outputs, channels, size)
