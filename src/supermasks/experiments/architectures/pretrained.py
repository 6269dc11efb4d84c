"""What pretrained encoders share, of texts or of images."""

from abc import ABC
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from torch import nn

from supermasks.bases import Base, PretrainedBase
from supermasks.datasets import MODELS
from supermasks.experiments.architectures.architecture import Architecture
from supermasks.network import Network


@dataclass(frozen=True)
class Pretrained(Architecture, ABC):
    """A pretrained encoder, with a dense head a task on the mean of its features.

    Its linear layers, and convolutions that mix channels, are masked, or trained. Embeddings, biases, normalisation and
    depthwise convolutions stay as they are.

    Attributes:
        known: the model that has a name.
        model: its name, or a folder that `transformers` loads.
    """

    known: ClassVar[str]

    model: str = ""

    @property
    def title(self) -> str:
        return self.model if self.model == self.known else Path(self.model).stem

    def base(self, seed: int, kept: float | None) -> Base:
        return PretrainedBase(MODELS[self.known].origin if self.model == self.known else self.model)

    def head(self, module: nn.Module) -> str:
        return "head"

    def network(self, module: nn.Module, base: Base, device: str, **options: Any) -> Network:
        usual = {"select": mixing_weights(module), "norm": "frozen", "head": "head"}
        return super().network(module, base, device, **{**usual, **options})


def mixing_weights(module: nn.Module) -> list[str]:
    """Return the names of the weights of linear layers and convolutions, but for depthwise ones and the head.

    A depthwise convolution has a few weights for each channel alone. Masks that may drop them are worse.

    Example:
        >>> mixing_weights(nn.Sequential(nn.Conv2d(4, 4, 3, groups=4), nn.Conv2d(4, 8, 1), nn.Flatten()))
        ['1.weight']
    """
    return [
        f"{name}.weight"
        for name, layer in module.named_modules()
        if name != "head" and isinstance(layer, (nn.Linear, nn.Conv2d)) and getattr(layer, "groups", 1) == 1
    ]
