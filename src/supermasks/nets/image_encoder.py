"""A pretrained network of images with a head of its own."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from supermasks.errors import ConfigError


class ImageEncoder(nn.Module):
    """A pretrained network of images, with a linear head on the mean of its features over all places.

    Attributes:
        encoder: the network itself; its parameters are named `encoder.`...
        head: linear, with bias.

    Args:
        encoder: returns features, `batch x width x height x width`, or `batch x tokens x width` in a field
            `last_hidden_state`, as vision models of `transformers` do.
        width: of the features.
        outputs: of the head.
        side: of the images that the encoder is given, in pixels; others are interpolated.
        mean: of the pixels, which the encoder was trained with, for red, green and blue; white is 1.
        std: the standard deviation, likewise.

    Raises:
        ConfigError: a size is not positive.
    """

    def __init__(
        self,
        encoder: nn.Module,
        width: int,
        outputs: int,
        side: int,
        mean: tuple[float, ...] = (0.5, 0.5, 0.5),
        std: tuple[float, ...] = (0.5, 0.5, 0.5),
    ) -> None:
        super().__init__()
        if min(width, outputs, side) < 1:
            raise ConfigError(f"width, outputs and side must be positive, got {width}, {outputs} and {side}")
        self.encoder = encoder
        self.head = nn.Linear(width, outputs)
        self.side, self.mean, self.std = side, mean, std

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits, `batch x outputs`, of images with pixels from -1 to 1, `batch x 3 x height x width`."""
        if images.shape[2:] != (self.side, self.side):
            images = functional.interpolate(images, size=self.side, mode="bilinear", align_corners=False)
        mean, std = (torch.tensor(each, device=images.device).view(1, -1, 1, 1) for each in (self.mean, self.std))
        found = self.encoder(((images + 1) / 2 - mean) / std)
        features = getattr(found, "last_hidden_state", found)
        return self.head(features.mean((2, 3)) if features.dim() == 4 else features.mean(1))
