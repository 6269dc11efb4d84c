"""Images and labels in IDX files, checked for type, shape and range."""

from collections.abc import Sized

import torch
from torch import Tensor

from supermasks.datasets.images.idx import parse_idx
from supermasks.errors import DataUnavailableError


def images_in(content: bytes, name: str) -> Tensor:
    """Return the images in the (uncompressed) IDX bytes as `N x 1 x 28 x 28`, uint8; errors call them `name`.

    Raises:
        DataUnavailableError: the bytes hold something else, or no images.
    """
    array = parse_idx(content, name)
    if array.dtype != "uint8" or array.shape[1:] != (28, 28) or not len(array):
        raise DataUnavailableError(
            f"{name} must hold images, uint8 of shape N x 28 x 28, got {array.dtype} of shape {array.shape}; "
            "check that it is the file you mean"
        )
    return torch.as_tensor(array).unsqueeze(1)


def targets_in(content: bytes, name: str, dtype: str, images: Sized, classes: Sized) -> Tensor:
    """Return the labels in the (uncompressed) IDX bytes as `N`, int64: one for each of `images`, each one of `classes`.

    Raises:
        DataUnavailableError: the labels have another type than `dtype`, another number, or another range.
    """
    array = parse_idx(content, name)
    if array.dtype != dtype or array.shape != (len(images),):
        raise DataUnavailableError(
            f"{name} must hold {len(images)} labels, {dtype}, one for each image beside it, "
            f"got {array.dtype} of shape {array.shape}; get all files from one place"
        )
    low, high = int(array.min()), int(array.max())
    if low < 0 or high >= len(classes):
        raise DataUnavailableError(
            f"the labels in {name} must lie in 0..{len(classes) - 1}, for its {len(classes)} classes, got "
            f"{low if low < 0 else high}; check that it is the file you mean"
        )
    return torch.as_tensor(array).long()
