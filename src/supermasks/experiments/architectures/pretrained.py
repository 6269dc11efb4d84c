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

    Its linear layers and convolutions are masked, or trained. Embeddings, biases and normalisation stay as they are.

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
        layers = [layer for name, layer in module.named_modules() if name != "head"]
        found = [kind for kind in (nn.Linear, nn.Conv2d) if any(isinstance(layer, kind) for layer in layers)]
        usual = {"select": found, "norm": "frozen", "head": "head"}
        return super().network(module, base, device, **{**usual, **options})
