"""Colour images as grey ones, of another size."""

from dataclasses import replace

import torch
from torch import Tensor

from supermasks.data.sources import ImageSource, Normalisation
from supermasks.errors import InputError
from supermasks.types import Store

LUMA = (0.299, 0.587, 0.114)
"""How bright red, green and blue seem (ITU-R BT.601)."""

AT_ONCE = 10_000
"""How many images are converted at once."""


def grey(source: ImageSource, colours: Normalisation, side: int = 28) -> ImageSource:
    """Return the centre of colour images in grey, `images x 1 x side x side`.

    A grey pixel is `0.299 red + 0.587 green + 0.114 blue`. The result is normalised by the mean and the standard
    deviation of its own training pixels.

    Args:
        source: of colour images.
        colours: the normalisation that the source was made with.
        side: of the grey images, in pixels; the border around them is cut off.

    Raises:
        InputError: the images have no three channels, or are smaller than `side`.

    Example:
        >>> colours = Normalisation((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
        >>> images = colours(torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8))
        >>> of = torch.tensor([0, 1, 0, 1])
        >>> tuple(grey(ImageSource("noise", (0, 1), images, of, images, of, colours.black), colours).train_inputs.shape)
        (4, 1, 28, 28)
    """
    shape = tuple(source.train_inputs.shape[1:])
    if len(shape) != 3 or shape[0] != 3 or min(shape[1:]) < side or side < 1:
        raise InputError(f"expected images of 3 channels and at least {side} x {side} pixels, got {shape}")
    train, test = (_grey(each, colours, side) for each in (source.train_inputs, source.test_inputs))
    mean, deviation = float(train.double().mean()), float(train.double().std(correction=0))
    if deviation < 1e-6:
        raise InputError(f"all pixels of {source.name} are equally bright, so their spread cannot be normalised")
    return replace(
        source,
        name=f"{source.name}-grey",
        train_inputs=train.sub_(mean).div_(deviation),
        test_inputs=test.sub_(mean).div_(deviation),
        black=(-mean / deviation,),
    )


def _grey(images: Tensor | Store, colours: Normalisation, side: int) -> Tensor:
    """Return the centre of images in grey, from 0 (black) to 1 (white)."""
    top, left = ((size - side) // 2 for size in images.shape[2:])
    deviations = torch.tensor(colours.std, dtype=torch.float32) * torch.tensor(LUMA, dtype=torch.float32)
    offset = sum(mean * share for mean, share in zip(colours.mean, LUMA, strict=True))
    parts = [
        torch.einsum("nchw,c->nhw", images[rows][:, :, top : top + side, left : left + side], deviations) + offset
        for rows in torch.arange(len(images)).split(AT_ONCE)
    ]
    return torch.cat(parts)[:, None]
