"""A pretrained encoder of images."""

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from supermasks.experiments.architectures.pretrained import Pretrained
from supermasks.experiments.image_models import EFFICIENTNET, efficientnet, vision_model
from supermasks.nets import ImageEncoder
from supermasks.types import TaskStream


@dataclass(frozen=True)
class Vision(Pretrained):
    """A pretrained network of images, with a dense head a task on the mean of its features.

    Attributes:
        model: "efficientnet-lite0", or the folder of a vision model and its `preprocessor_config.json` that
            `transformers` loads.
        side: of the images that the network is given, in pixels; None for the side that it was trained with.
    """

    name = "vision"
    known = EFFICIENTNET

    model: str = EFFICIENTNET
    side: int | None = None

    def module(self, tasks: TaskStream, data: Path | None = None) -> nn.Module:
        found = efficientnet(data) if self.model == EFFICIENTNET else vision_model(self.model)
        side = found.side if self.side is None else self.side
        return ImageEncoder(found.encoder, found.width, self.outputs_for(tasks), side, found.mean, found.std)
