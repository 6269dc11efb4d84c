"""Networks over texts: a small one over token embeddings, and a pretrained encoder."""

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from supermasks.bases import Base, RandomBase
from supermasks.errors import ConfigError
from supermasks.experiments.architectures.architecture import Architecture
from supermasks.experiments.architectures.pretrained import Pretrained
from supermasks.experiments.encoder import MINILM, load_encoder
from supermasks.nets import TextCNN
from supermasks.nets.hugging_face import HuggingFaceEncoder
from supermasks.types import TaskStream


@dataclass(frozen=True)
class KimCNN(Architecture):
    """The network of Kim (2014) over token embeddings (ExSSNeT, Appendix A.3).

    It has no normalisation, so that its random weights are larger where masks keep few of them.

    Attributes:
        channels: of each of the three convolutions.
    """

    name = "text-cnn"

    channels: int = 100

    def module(self, tasks: TaskStream, data: Path | None = None) -> nn.Module:
        return TextCNN(self.outputs_for(tasks), tasks[0].train.shape[-1], self.channels)

    def base(self, seed: int, kept: float | None) -> Base:
        if kept is None:
            raise ConfigError(
                "KimCNN has no normalisation, so that its masks must keep the same fraction of each layer, such as "
                "rule=TopK(0.1), for its random weights to be scaled by"
            )
        return RandomBase(seed, density=kept)


@dataclass(frozen=True)
class Encoder(Pretrained):
    """A pretrained encoder of texts, with a dense head a task on the mean over the tokens.

    Attributes:
        model: "minilm", or the folder of an encoder that `transformers` loads.
    """

    name = "encoder"
    known = MINILM

    model: str = MINILM

    def module(self, tasks: TaskStream, data: Path | None = None) -> nn.Module:
        encoder = load_encoder(self.model, "AutoModel", data)
        if getattr(encoder, "pooler", None) is not None:
            encoder.pooler = None  # has no part in the mean over the tokens, but linear layers to mask
        return HuggingFaceEncoder(encoder, outputs=self.outputs_for(tasks))
