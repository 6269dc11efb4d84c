"""Labelled images, from which streams of tasks are made, and the normalisation of their pixels."""

from dataclasses import dataclass

import torch
from torch import Tensor

from supermasks.types import Store


@dataclass(frozen=True)
class Normalisation:
    """Maps pixels to numbers around 0: `(pixel / 255 - mean) / std`, for each channel.

    Attributes:
        mean: of the training pixels, one number for each channel; white is 1.
        std: the standard deviation, likewise.

    Example:
        >>> Normalisation((0.5,), (0.25,))(torch.tensor([[[[0, 255]]]], dtype=torch.uint8)).tolist()
        [[[[-2.0, 2.0]]]]
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, pixels: Tensor) -> Tensor:
        """Return `pixels` (`images x channels x height x width`, uint8) as normalised float32."""
        values = pixels.to(torch.float32).div_(255)
        for channel, (mean, std) in enumerate(zip(self.mean, self.std, strict=True)):
            values[:, channel].sub_(mean).div_(std)
        return values

    @property
    def black(self) -> tuple[float, ...]:
        """The normalised value of a pixel that is 0, one number for each channel."""
        return tuple(self(torch.zeros(1, len(self.mean), 1, 1, dtype=torch.uint8)).flatten().tolist())


@dataclass(frozen=True, eq=False)
class ImageSource:
    """Normalised images, shared by all tasks made from them.

    Attributes:
        name: the name of the data set.
        classes: the labels; target `n` stands for `classes[n]`.
        train_inputs: `N x channels x height x width`, float32, `(pixel / 255 - mean) / std`; a tensor, or a store that
            decodes them on request.
        train_targets: `N`, int64.
        test_inputs: `M x channels x height x width`, float32, normalised like the training inputs.
        test_targets: `M`, int64.
        black: the normalised value of a pixel that is 0, one number for each channel.
    """

    name: str
    classes: tuple[int, ...] | tuple[str, ...]
    train_inputs: Tensor | Store
    train_targets: Tensor
    test_inputs: Tensor | Store
    test_targets: Tensor
    black: tuple[float, ...]
