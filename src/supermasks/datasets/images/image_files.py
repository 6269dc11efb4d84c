"""Images that are read from their files when a batch asks for them."""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from supermasks.brief import brief
from supermasks.data.sources import Normalisation
from supermasks.errors import ConfigError, InputError, MissingExtraError


@dataclass(frozen=True, eq=False)
class ImageFiles:
    """Image files of any size and mode, as one `N x 3 x size x size` of normalised float32.

    A row is decoded each time that it is asked for: converted to RGB, resized (bilinear) so that the shorter side has
    `shorter` pixels, cropped to the central `size x size`, and normalised. Nothing is kept.

    Attributes:
        paths: of the files.
        size: the side of an image after the crop.
        shorter: the shorter side of an image before the crop; at least `size`.
        normalisation: with three means and deviations.
        threads: how many images are decoded at once.

    Raises:
        MissingExtraError: Pillow is not installed.
        ConfigError: `size` or `threads` is below 1, or `shorter` is below `size`.
    """

    paths: tuple[str, ...]
    size: int
    shorter: int
    normalisation: Normalisation
    threads: int = min(8, os.cpu_count() or 1)

    def __post_init__(self) -> None:
        if min(self.size, self.threads) < 1 or self.shorter < self.size:
            raise ConfigError(
                "size and threads must be at least 1, and shorter at least size, got "
                f"size={self.size}, shorter={self.shorter} and threads={self.threads}"
            )
        _pillow()

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def shape(self) -> torch.Size:
        """`N x 3 x size x size`."""
        return torch.Size((len(self.paths), 3, self.size, self.size))

    @property
    def dtype(self) -> torch.dtype:
        """The type of what rows return: float32."""
        return torch.float32

    def __getitem__(self, rows: Tensor, /) -> Tensor:
        """Return the images of these rows (`batch`, int64) as `batch x 3 x size x size`, float32.

        Raises:
            InputError: the rows are not such a tensor, or a file cannot be decoded.
            IndexError: a row is out of range.
        """
        if not isinstance(rows, Tensor) or rows.dtype != torch.int64 or rows.dim() != 1:
            raise InputError(
                f"rows must be an int64 tensor with one dimension, got {brief(rows)}; use torch.tensor(...)"
            )
        paths = [self.paths[row] for row in rows.tolist()]
        with ThreadPoolExecutor(self.threads) as pool:
            images = list(pool.map(self._decode, paths))
        pixels = (
            torch.from_numpy(np.stack(images))
            if images
            else torch.zeros(0, 3, self.size, self.size, dtype=torch.float32)
        )
        return self.normalisation(pixels)

    def _decode(self, path: str) -> NDArray[np.uint8]:
        """Return the image as `3 x size x size`."""
        pil = _pillow()
        try:
            with pil.open(path) as file:
                image = file.convert("RGB")
        # All that Pillow raises for damaged files of its formats.
        except (OSError, SyntaxError, ValueError, EOFError, pil.DecompressionBombError) as error:
            raise InputError(f"{path} cannot be decoded as an image ({error}); replace it, or remove it") from error
        scale = self.shorter / min(image.size)
        width, height = (max(self.shorter, round(side * scale)) for side in image.size)
        left, top = (width - self.size) // 2, (height - self.size) // 2
        resized = image.resize((width, height), pil.Resampling.BILINEAR)
        pixels = np.asarray(resized.crop((left, top, left + self.size, top + self.size)))
        return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _pillow() -> Any:
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingExtraError(
            "decoding image files needs Pillow; install it with: pip install 'supermasks[images]'"
        ) from error
    return Image
