"""Inputs of many kinds, numbers, images or token ids, to one tensor."""

import sys
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from supermasks.errors import InputError


def stack(samples: object, what: str) -> Tensor:
    """Return `samples`, a tensor, array or list of one input each, as float32 `examples x ...`.

    Floating-point values stay as they are, uint8 is divided by 255 and gets a leading channel where
    a sample is `height x width`; images of PIL also get their channels first.

    Raises:
        InputError: they are of another type, or differ in shape; `what` is what the message calls them.

    Example:
        >>> stack(np.array([[[0, 255]]], dtype=np.uint8), "the example").shape
        torch.Size([1, 1, 1, 2])
    """
    if isinstance(samples, Tensor):
        return _scaled(samples, samples.dim() == 3, what)
    if isinstance(samples, np.ndarray):
        return _scaled(_tensor(cast("NDArray[Any]", samples), what), samples.ndim == 3, what)
    if not isinstance(samples, (list, tuple)):
        raise InputError(
            f"the inputs of {what} must be a tensor, an array or a list, but are a {type(samples).__qualname__}; "
            "convert them first"
        )
    items = cast("Sequence[object]", samples)
    if not items:
        return torch.zeros(0, 1, dtype=torch.float32)
    if all(isinstance(item, (list, tuple, int, float, np.generic)) for item in items):
        return _scaled(_nested(items, what), False, what)
    return _stacked([_sample(item, what) for item in items], what)


def stack_ids(samples: object, what: str) -> Tensor:
    """Return `samples`, a tensor, array or list of one input each, as int64 `examples x ...`, the numbers as they are.

    Raises:
        InputError: they are no integers, negative, or differ in shape; `what` is what the message calls them.

    Example:
        >>> stack_ids([[101, 7, 102], [101, 102, 0]], "the example")
        tensor([[101,   7, 102],
                [101, 102,   0]])
    """
    if isinstance(samples, (list, tuple)):
        items = cast("Sequence[object]", samples)
        ids = _stacked([_ids(item, what) for item in items], what) if items else torch.zeros(0, 1, dtype=torch.int64)
    else:
        ids = _ids(samples, what)
    if bool((ids < 0).any()):
        raise InputError(f"token ids of {what} are 0 or more, but {int(ids.min())} came; put the id of padding there")
    return ids


def _ids(numbers: object, what: str) -> Tensor:
    if isinstance(numbers, Tensor):
        numbers = numbers.detach().cpu().numpy()
    try:
        array = np.asarray(numbers)
    except ValueError as error:
        raise InputError(f"the token ids of {what} must have one shape, but differ; pad them first") from error
    if array.dtype.kind not in "iu":
        raise InputError(
            f"token ids of {what} must be integers, but {array.dtype} came; tokenise first, or leave out token_ids"
        )
    return torch.from_numpy(array.astype(np.int64))


def _stacked(tensors: Sequence[Tensor], what: str) -> Tensor:
    shapes = list(dict.fromkeys(tuple(tensor.shape) for tensor in tensors))
    if len(shapes) > 1:
        raise InputError(
            f"the inputs of {what} must have one shape, but {shapes[0]} and {shapes[1]} came; resize or pad them first"
        )
    return torch.stack(list(tensors))


def _sample(item: object, what: str) -> Tensor:
    """Return one input as float32."""
    if _is_image(item):
        return _image(item, what)
    if isinstance(item, Tensor):
        return _scaled(item, item.dim() == 2, what)
    if isinstance(item, np.ndarray):
        return _scaled(_tensor(cast("NDArray[Any]", item), what), item.ndim == 2, what)
    if isinstance(item, (list, tuple)):
        return _scaled(_nested(cast("Sequence[object]", item), what), False, what)
    raise InputError(
        f"an input of {what} must be a tensor, an array, a list of numbers or an image of PIL, "
        f"but is a {type(item).__qualname__}; convert it first"
    )


def _nested(numbers: Sequence[object], what: str) -> Tensor:
    try:
        array = np.asarray(numbers)
    except (ValueError, TypeError) as error:
        raise InputError(f"the lists of numbers in {what} must have one shape, but differ; pad them first") from error
    return _tensor(array, what)


def _tensor(array: NDArray[Any], what: str) -> Tensor:
    if array.dtype.kind != "f" and array.dtype != np.uint8:
        raise InputError(_unusable(str(array.dtype), what))
    # A copy, since torch takes neither foreign byte orders nor negative strides. A value that is too large
    # becomes infinite, which is refused later, by a message that tells the example.
    with np.errstate(over="ignore"):
        return torch.as_tensor(np.array(array, dtype=np.float32 if array.dtype.kind == "f" else np.uint8, order="C"))


def _scaled(values: Tensor, gray: bool, what: str) -> Tensor:
    """Return `values` as float32; those of uint8 scaled to 0..1, and if `gray` with a channel before the sides."""
    if values.dtype == torch.uint8:
        scaled = values.to(torch.float32).div_(255)
        return scaled.unsqueeze(-3) if gray else scaled
    if values.is_floating_point():
        return values.detach().to(torch.float32)
    raise InputError(_unusable(str(values.dtype), what))


def _unusable(kind: str, what: str) -> str:
    return (
        f"the inputs of {what} must be floating-point numbers, taken as they are, or uint8, divided by 255, "
        f"but {kind} came; convert them to float32 and scale them, or to uint8 if they are pixels, or say "
        "token_ids=True if that is what they are"
    )


def _is_image(item: object) -> bool:
    """Without an import: who has an image of PIL has imported PIL."""
    module = sys.modules.get("PIL.Image")
    return module is not None and isinstance(item, vars(module)["Image"])


def _image(image: Any, what: str) -> Tensor:
    # The numbers of a palette are names of colours, and bits are not gray: both would pass for pixels.
    if image.mode in ("P", "PA", "1"):
        raise InputError(
            f'an image of {what} has the mode {image.mode!r}, which holds no shades; convert it with convert("L") '
            'or convert("RGB")'
        )
    pixels = _tensor(np.asarray(image), what)
    return _scaled(pixels.unsqueeze(0) if pixels.dim() == 2 else pixels.permute(2, 0, 1).contiguous(), False, what)
