"""Streams such as RotatedMNIST: each task has its own angle of rotation."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from supermasks.data.lazy import LazyStream, check_count
from supermasks.data.sources import ImageSource
from supermasks.errors import ConfigError, InputError
from supermasks.types import Examples, Task


@dataclass(frozen=True)
class Rotate:
    """A view that rotates images about their centre, counterclockwise.

    Attributes:
        degrees: the angle.
        fill: the value of pixels outside of the image: one number for all channels, or one for each.
        interpolation: "nearest" takes the nearest pixel, "bilinear" averages the nearest four.

    Raises:
        InputError: on a call, if the number of channels differs from the number of fill values.

    Example:
        >>> Rotate(180.0)(torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])).round().flatten().tolist()
        [4.0, 3.0, 2.0, 1.0]
    """

    degrees: float
    fill: float | tuple[float, ...] = 0.0
    interpolation: Literal["nearest", "bilinear"] = "nearest"

    def __call__(self, batch: Tensor) -> Tensor:
        """Return the batch (`batch x channels x height x width`) in the same shape, rotated."""
        height, width = batch.shape[-2:]
        cosine, sine = math.cos(math.radians(self.degrees)), math.sin(math.radians(self.degrees))
        # The grid runs from -1 to 1 along both sides, so the sides of a rectangle must be weighted.
        turn = torch.tensor(
            [[[cosine, -sine * height / width, 0.0], [sine * width / height, cosine, 0.0]]], dtype=torch.float32
        )
        grid = functional.affine_grid(turn.to(batch), [1, 1, height, width], align_corners=False)
        fill = self._fill_of(batch)
        # Sampling pads with zeros, so the fill value is shifted to zero before and back afterwards.
        turned = functional.grid_sample(
            batch - fill,
            grid.expand(len(batch), -1, -1, -1),
            mode=self.interpolation,
            padding_mode="zeros",
            align_corners=False,
        )
        return turned + fill

    def _fill_of(self, batch: Tensor) -> float | Tensor:
        if not isinstance(self.fill, tuple):
            return self.fill
        if len(self.fill) == 1:
            return self.fill[0]
        if len(self.fill) != batch.shape[1]:
            raise InputError(
                f"expected images with {len(self.fill)} channels, one for each fill value, got "
                f"{tuple(batch.shape[1:])}; pass one fill value for each channel"
            )
        return torch.tensor(self.fill, dtype=torch.float32).to(batch).view(-1, 1, 1)


@dataclass(frozen=True, eq=False)
class RotatedStream(LazyStream):
    """`tasks` tasks, named `rotated-000.0` and so on; task `n` is rotated by `n * degrees`, and the first not at all.

    Nearest-neighbour interpolation is the default, as in the usual image libraries. It gives each angle its own jagged
    edges, which make it easy to recognise. Bilinear interpolation smooths them away, and neighbouring angles are
    confused.

    Raises:
        ConfigError: `tasks` is not a positive integer, `degrees` is below 0.1, or the tasks exceed a full turn.
        InputError: the inputs of the source are not images.

    Example:
        >>> from supermasks.datasets import load_source
        >>> stream = RotatedStream(load_source("sample"))
        >>> len(stream), stream[1].name
        (36, 'rotated-010.0')
    """

    source: ImageSource
    tasks: int = 36
    degrees: float = 10.0
    interpolation: Literal["nearest", "bilinear"] = "nearest"

    def __post_init__(self) -> None:
        check_count("the number of tasks", self.tasks)
        # Names have one decimal of a degree.
        if not (self.degrees >= 0.1 and (self.tasks - 1) * self.degrees < 360):
            raise ConfigError(
                f"degrees must be at least 0.1, and {self.tasks} tasks must stay within a full turn, got "
                f"{self.degrees!r}; pass for example degrees={360 / self.tasks:g}"
            )
        if len(self.source.train_inputs.shape) != 4:
            raise InputError(
                "expected images, of shape examples x channels x height x width, got "
                f"{tuple(self.source.train_inputs.shape)}; reshape the inputs of the source"
            )

    def __len__(self) -> int:
        return self.tasks

    def make(self, index: int) -> Task:
        """Make the task at `index`."""
        source, angle = self.source, index * self.degrees
        view = Rotate(angle, source.black, self.interpolation) if index else None
        return Task(
            name=f"rotated-{angle:05.1f}",
            classes=source.classes,
            train=Examples(source.train_inputs, source.train_targets, view),
            test=Examples(source.test_inputs, source.test_targets, view),
        )
