"""Data augmentation on batches of tensors."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from supermasks.errors import ConfigError, InputError
from supermasks.spec import Settings


class Augmentation(Settings, ABC):
    """Changes each input at random. Subclasses are frozen dataclasses.

    Drawing and applying are separate, so a part of a batch is changed as in the whole batch.
    """

    @abstractmethod
    def check(self, shape: tuple[int, ...]) -> None:
        """Raise InputError unless inputs have a suitable shape."""

    @abstractmethod
    def draw(self, count: int, random: np.random.Generator) -> Tensor:
        """Return random parameters for each of `count` inputs, `count x ...`."""

    @abstractmethod
    def apply(self, inputs: Tensor, drawn: Tensor) -> Tensor:
        """Return the changed inputs, in the same shape; each depends only on its row of `drawn`."""


@dataclass(frozen=True)
class CropAndFlip(Augmentation):
    """Pad images with zeros, crop them at random to their original size, and mirror half of them.

    The usual augmentation of CIFAR. In normalised data, 0 is the mean.

    Attributes:
        padding: pixels on each side; the crop begins at one of `2 padding + 1` equally likely rows and columns.
        flip: whether to mirror left and right with probability 1/2.

    Raises:
        ConfigError: the padding is negative.

    Example:
        >>> crop = CropAndFlip(padding=1, flip=True)
        >>> crop.apply(torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]), torch.tensor([[2, 1, 1]]))  # down, and mirrored
        tensor([[[[4., 3.],
                  [0., 0.]]]])
    """

    padding: int = 4
    flip: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.padding < 0:
            raise ConfigError(f"padding must be at least 0 pixels, got {self.padding}")

    def check(self, shape: tuple[int, ...]) -> None:
        if len(shape) != 3:
            raise InputError(
                f"images must be channels x rows x columns, got inputs of shape {shape}; train without augmentation"
            )

    def draw(self, count: int, random: np.random.Generator) -> Tensor:
        # For each input: the first row and column of the crop, and whether it is mirrored.
        starts = random.integers(2 * self.padding + 1, size=(count, 2))
        mirrored = random.integers(2, size=(count, 1)) if self.flip else np.zeros((count, 1), dtype=np.int64)
        return torch.from_numpy(np.concatenate([starts, mirrored], axis=1))

    def apply(self, inputs: Tensor, drawn: Tensor) -> Tensor:
        height, width = inputs.shape[-2:]
        padded = torch.nn.functional.pad(inputs, (self.padding,) * 4)
        first_row, first_column, mirrored = drawn.to(inputs.device).unsqueeze(-1).unbind(dim=1)  # each batch x 1
        columns = torch.arange(width, device=inputs.device)
        columns = first_column + torch.where(mirrored == 1, width - 1 - columns, columns)
        rows = first_row + torch.arange(height, device=inputs.device)
        pixels = (rows * padded.shape[-1]).unsqueeze(2) + columns.unsqueeze(1)  # batch x height x width
        flat = pixels.flatten(1).unsqueeze(1).expand(-1, inputs.shape[1], -1)
        return padded.flatten(2).gather(2, flat).view(inputs.shape)
