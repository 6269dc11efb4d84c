"""Views that turn images of any data set into colour images of one size."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from supermasks.data.sources import ImageSource
from supermasks.errors import InputError


@dataclass(frozen=True)
class Rgb:
    """Turns normalised images into `images x 3 x side x side` with pixels from 0 to 1.

    Grey images get three equal channels.

    Attributes:
        low: what becomes 0, one number for each channel.
        high: what becomes 1, likewise.
        side: of the result, in pixels; other sizes are interpolated.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]
    side: int

    def __call__(self, images: Tensor) -> Tensor:
        """Return the images, `images x 3 x side x side`."""
        low, high = (images.new_tensor(each).view(1, -1, 1, 1) for each in (self.low, self.high))
        images = (images - low) / (high - low)
        if images.shape[2:] != (self.side, self.side):
            images = functional.interpolate(images, size=self.side, mode="bilinear", antialias=True)
        return images if images.shape[1] == 3 else images.expand(-1, 3, -1, -1)


def rgb(source: ImageSource, side: int = 32) -> Callable[[Tensor], Tensor]:
    """Return a view that turns the images of a source into colour images with pixels from 0 (black) to 1.

    The brightest training pixel of each channel becomes 1. Grey images get three equal channels.

    Args:
        source: of grey or colour images, in memory.
        side: of the result, in pixels.

    Raises:
        InputError: the images are not in memory, or have neither one nor three channels, or a channel is black.

    Example:
        >>> from supermasks.datasets import load_source
        >>> source = load_source("sample")
        >>> images = rgb(source)(source.train_inputs[:5])
        >>> tuple(images.shape), float(images.min())
        ((5, 3, 32, 32), 0.0)
    """
    images = source.train_inputs
    if not isinstance(images, Tensor) or images.dim() != 4 or images.shape[1] not in (1, 3):
        kind = tuple(images.shape) if isinstance(images, Tensor) else type(images).__name__
        raise InputError(f"expected images in memory, N x 1 or 3 x height x width, from {source.name}, got {kind}")
    high = tuple(torch.amax(images, (0, 2, 3)).tolist())
    if any(most <= least for most, least in zip(high, source.black, strict=True)):
        raise InputError(f"all pixels of a channel of {source.name} are black, so that they have no range")
    return Rgb(source.black, high, side)
