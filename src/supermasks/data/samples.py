"""Turn inputs of many types into one tensor, in the same way for learning and for predicting."""

import sys
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from supermasks.errors import InputError
from supermasks.input_form import InputForm
from supermasks.types import check_dense

ROUNDING = 1e-4
"""How far scaled pixels may lie beyond 0 and 1, since resizing rounds."""


def as_inputs(samples: object, what: str, form: InputForm | None = None) -> tuple[Tensor, InputForm]:
    """Return `samples`, a tensor, array or list of inputs, as the network sees them, and their form.

    Floating-point values are taken as they are, as float32. uint8 is divided by 255 and gets a leading channel if a
    sample is `height x width`; images of PIL also get their channels first. Token ids become int64.

    Args:
        samples: `examples x ...`.
        what: what errors call them.
        form: of the inputs that a task was learned from; None takes the form of these samples, which cannot be token
            ids. With PIXELS, floating-point values are taken as pixels that are scaled already.

    Raises:
        InputError: the samples have another form, cannot be used, or differ in shape.

    Example:
        >>> pixels, form = as_inputs(np.array([[[0, 255]]], dtype=np.uint8), "the example")
        >>> pixels, form
        (tensor([[[[0., 1.]]]]), <InputForm.PIXELS: 'pixels'>)
        >>> as_inputs([[101, 7, 102]], "the example", InputForm.TOKEN_IDS)[0]
        tensor([[101,   7, 102]])
        >>> as_inputs([[[0.0, 128.0]]], "the example", form)
        Traceback (most recent call last):
            ...
        supermasks.errors.InputError: the task was learned from pixels of type uint8, divided by 255, so floats must \
lie in 0..1, but the inputs of the example lie in 0..128; pass the pixels as uint8, or divide them by 255
    """
    if form is InputForm.TOKEN_IDS:
        ids = samples if isinstance(samples, Tensor) and samples.dtype == torch.int64 else _ids(samples, what)
        if ids.numel() and int(ids.min()) < 0:
            raise InputError(
                f"the token ids of {what} must be 0 or more, got {int(ids.min())}; use the id of the padding token"
            )
        return ids, form
    values = _values(samples, what, form)
    if form is None:
        form = InputForm.PIXELS if values.dtype == torch.uint8 else InputForm.AS_IS
    if values.dtype != torch.uint8:
        if form is InputForm.PIXELS:
            _check_scaled(values, what)
        return values.to(torch.float32), form
    if form is InputForm.AS_IS:
        raise InputError(
            f"the task was learned from {form.words}, but the inputs of {what} are uint8; convert them to float32, and "
            "scale them like the training data"
        )
    return values.to(torch.float32).div_(255), form


def with_channel(inputs: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return images, `batch x height x width`, with a channel if the task has one; other inputs unchanged.

    Args:
        inputs: `batch x ...`.
        shape: of one input of the task.
    """
    return inputs.unsqueeze(1) if inputs.dim() == 3 and shape == (1, *inputs.shape[1:]) else inputs


def _check_scaled(values: Tensor, what: str) -> None:
    if not values.numel():
        return
    low, high = (float(value) for value in torch.aminmax(values))
    if not (np.isfinite(low) and np.isfinite(high)):
        raise InputError(f"the inputs of {what} must be finite, got NaN or infinity; remove or replace such values")
    if low < -ROUNDING or high > 1 + ROUNDING:
        raise InputError(
            f"the task was learned from {InputForm.PIXELS.words}, so floats must lie in 0..1, but the inputs of {what} "
            f"lie in {low:g}..{high:g}; pass the pixels as uint8, or divide them by 255"
        )


def _ids(samples: object, what: str) -> Tensor:
    """Return token ids as int64, `examples x ...`."""
    if isinstance(samples, (list, tuple)):
        items = cast("Sequence[object]", samples)
        return _stacked([_of_one(item, what) for item in items], what) if items else torch.zeros(0, 1).long()
    return _of_one(samples, what)


def _of_one(numbers: object, what: str) -> Tensor:
    if isinstance(numbers, Tensor):
        numbers = numbers.detach().cpu().numpy()
    try:
        array = np.asarray(numbers)
    except ValueError as error:
        raise InputError(f"the token ids of {what} must have one shape, got several; pad them first") from error
    if array.dtype.kind not in "iu":
        raise InputError(
            f"the token ids of {what} must be integers, got {array.dtype}; tokenise first, and pass int64, or make the "
            "task without token_ids"
        )
    return torch.from_numpy(array.astype(np.int64))


def _stacked(tensors: Sequence[Tensor], what: str) -> Tensor:
    shapes = list(dict.fromkeys(tuple(tensor.shape) for tensor in tensors))
    if len(shapes) > 1:
        raise InputError(
            f"the inputs of {what} must have one shape, got {shapes[0]} and {shapes[1]}; resize or pad them first"
        )
    if len({tensor.dtype == torch.uint8 for tensor in tensors}) > 1:
        raise InputError(
            f"the inputs of {what} must be of one type, got uint8, which is divided by 255, and floating-point "
            "numbers, which are not; convert all of them in the same way"
        )
    return torch.stack(list(tensors))


def _values(samples: object, what: str, form: InputForm | None) -> Tensor:
    """Return numbers as uint8 or floating point; uint8 of shape `height x width` gets a channel."""
    if isinstance(samples, Tensor):
        check_dense(samples, f"the inputs of {what}")
        return _checked(samples, samples.dim() == 3, what, form)
    if isinstance(samples, np.ndarray):
        return _checked(_tensor(cast("NDArray[Any]", samples), what, form), samples.ndim == 3, what, form)
    if not isinstance(samples, (list, tuple)):
        one = "; pass a list, even for one image" if _is_image(samples) else "; convert them first"
        raise InputError(
            f"the inputs of {what} must be a tensor, an array or a list, got a {type(samples).__qualname__}{one}"
        )
    items = cast("Sequence[object]", samples)
    if not items:
        return torch.zeros(0, 1, dtype=torch.float32)
    if all(isinstance(item, (list, tuple, int, float, np.generic)) for item in items):
        return _checked(_nested(items, what, form), False, what, form)
    return _stacked([_sample(item, what, form) for item in items], what)


def _sample(item: object, what: str, form: InputForm | None) -> Tensor:
    """Return one input as uint8 or floating point."""
    if _is_image(item):
        return _image(item, what, form)
    if isinstance(item, Tensor):
        return _checked(item, item.dim() == 2, what, form)
    if isinstance(item, np.ndarray):
        return _checked(_tensor(cast("NDArray[Any]", item), what, form), item.ndim == 2, what, form)
    if isinstance(item, (list, tuple)):
        return _checked(_nested(cast("Sequence[object]", item), what, form), False, what, form)
    raise InputError(
        f"an input of {what} must be a tensor, an array, a list of numbers or an image of PIL, got a "
        f"{type(item).__qualname__}; convert it first"
    )


def _nested(numbers: Sequence[object], what: str, form: InputForm | None) -> Tensor:
    try:
        array = np.asarray(numbers)
    except (ValueError, TypeError) as error:
        raise InputError(f"the lists of numbers in {what} must have one shape, got several; pad them first") from error
    return _tensor(array, what, form)


def _tensor(array: NDArray[Any], what: str, form: InputForm | None) -> Tensor:
    if array.dtype.kind != "f" and array.dtype != np.uint8:
        raise InputError(_unusable(str(array.dtype), what, form))
    # A copy, since torch accepts neither foreign byte orders nor negative strides. A value that is too large becomes
    # infinite, which is rejected later, with the number of the example.
    with np.errstate(over="ignore"):
        return torch.as_tensor(np.array(array, dtype=np.float32 if array.dtype.kind == "f" else np.uint8, order="C"))


def _checked(values: Tensor, gray: bool, what: str, form: InputForm | None) -> Tensor:
    """Return numbers if their type can be used; uint8 gets a channel before its sides if `gray`."""
    if values.dtype == torch.uint8:
        return values.unsqueeze(-3) if gray else values
    if values.is_floating_point():
        return values.detach() if values.requires_grad else values
    raise InputError(_unusable(str(values.dtype), what, form))


def _unusable(kind: str, what: str, form: InputForm | None) -> str:
    usable = "floating-point numbers, taken as they are, or uint8, divided by 255"
    if form is None:
        advice = (
            "convert them to float32 and scale them, or to uint8 if they are pixels, or pass token_ids=True if they "
            "are token ids"
        )
    else:
        usable = "float32" if form is InputForm.AS_IS else "uint8, or float32 in 0..1"
        advice = f"the task was learned from {form.words}: convert them like the training data"
    return f"the inputs of {what} must be {usable}, got {kind}; {advice}"


def _is_image(item: object) -> bool:
    """Check without an import: an image of PIL exists only if PIL was imported."""
    module = sys.modules.get("PIL.Image")
    return module is not None and isinstance(item, vars(module)["Image"])


def _image(image: Any, what: str, form: InputForm | None) -> Tensor:
    # Neither indices into a palette nor single bits are shades, but both would pass as pixels.
    if image.mode in ("P", "PA", "1"):
        raise InputError(
            f'an image of {what} must have shades, got the mode {image.mode!r}; convert it with convert("L") '
            'or convert("RGB")'
        )
    pixels = _tensor(np.asarray(image), what, form)
    return pixels.unsqueeze(0) if pixels.dim() == 2 else pixels.permute(2, 0, 1).contiguous()
