"""Images and labels out of IDX files, checked for what a data set promises."""

from collections.abc import Sized

import torch
from torch import Tensor

from supermasks.datasets.images.idx import parse_idx
from supermasks.errors import DataUnavailableError


def images_in(content: bytes, name: str) -> Tensor:
    """Return the images in the (uncompressed) IDX bytes: `N x 1 x 28 x 28`, uint8; errors call them `name`.

    Raises:
        DataUnavailableError: they are no such images, or there are none.
    """
    array = parse_idx(content, name)
    if array.dtype != "uint8" or array.shape[1:] != (28, 28) or not len(array):
        raise DataUnavailableError(
            f"{name} must hold images, uint8 of shape N x 28 x 28, but holds {array.dtype} of shape {array.shape}; "
            "check that it is the file you mean"
        )
    return torch.as_tensor(array).unsqueeze(1)


def targets_in(content: bytes, name: str, dtype: str, images: Sized, classes: Sized) -> Tensor:
    """Return the labels in the (uncompressed) IDX bytes: `N`, int64, one for each of `images`, below all `classes`.

    Raises:
        DataUnavailableError: they are not of type `dtype`, not as many, or not in that range.
    """
    array = parse_idx(content, name)
    if array.dtype != dtype or array.shape != (len(images),):
        raise DataUnavailableError(
            f"{name} must hold {len(images)} labels, {dtype}, one for each image beside it, "
            f"but holds {array.dtype} of shape {array.shape}; get all files from one place"
        )
    low, high = int(array.min()), int(array.max())
    if low < 0 or high >= len(classes):
        raise DataUnavailableError(
            f"{name} holds the label {low if low < 0 else high}, but those of its {len(classes)} classes are "
            f"0..{len(classes) - 1}; check that it is the file you mean"
        )
    return torch.as_tensor(array).long()
