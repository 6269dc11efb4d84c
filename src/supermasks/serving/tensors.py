"""Tensors of the Open Inference Protocol: as lists of JSON, and as bytes after it (the binary tensor extension)."""

import math
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from supermasks.brief import brief
from supermasks.serving.refusal import RefusedError

NUMBERS: dict[str, "np.dtype[Any]"] = {
    "FP32": np.dtype("<f4"),
    "FP16": np.dtype("<f2"),
    "UINT8": np.dtype("u1"),
    "INT64": np.dtype("<i8"),
}
"""The types of numbers, by their names in the protocol."""

BYTES = "BYTES"
"""The type of texts: in JSON a string; as bytes, four bytes with the length and then UTF-8."""

_MOST_DIMENSIONS = 16
_MOST_ENTRIES = 2**31


def checked_shape(shape: object, name: str) -> tuple[int, ...]:
    """Return the shape of a tensor; raise RefusedError if it is none."""
    sizes = cast("list[object]", shape) if isinstance(shape, list) else []
    if not sizes or len(sizes) > _MOST_DIMENSIONS or any(type(n) is not int or n < 0 for n in sizes):
        raise RefusedError(400, f"the shape of {name!r} must be a list of integers of at least 0, got {brief(shape)}")
    whole = tuple(cast("list[int]", sizes))
    if math.prod(max(size, 1) for size in whole) >= _MOST_ENTRIES:
        raise RefusedError(400, f"the shape of {name!r} has too many entries: {brief(whole)}")
    return whole


def numbers_from_json(data: object, datatype: str, shape: tuple[int, ...], name: str) -> Tensor:
    """Return the numbers of a list, flat or nested, as a tensor.

    Raises:
        RefusedError: they are not numbers of this type, not as many as the shape says, or nested in another shape.
    """
    if not isinstance(data, list):
        raise RefusedError(400, f"the data of {name!r} must be a list of numbers, got {brief(data)}")
    kind = NUMBERS[datatype]
    try:
        values = np.array(data)
        if values.size and values.dtype.kind not in ("iu" if kind.kind in "iu" else "iuf"):
            raise ValueError(f"got {values.dtype}")
        with np.errstate(over="ignore"):
            array = values.astype(kind)
        if kind.kind in "iu" and values.size and not np.array_equal(array, values):
            raise ValueError("a number is out of range")
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise RefusedError(
            400, f"the data of {name!r} must be a list of numbers for {datatype}: {brief(str(error))}"
        ) from error
    if array.ndim > 1 and array.shape != shape:
        raise RefusedError(
            400,
            f"the lists in the data of {name!r} must be nested as its shape {list(shape)} says, or flat, got lists of "
            f"the shape {list(array.shape)}",
        )
    return _shaped(array, shape, name)


def numbers_from_bytes(content: memoryview, datatype: str, shape: tuple[int, ...], name: str) -> Tensor:
    """Return the numbers in bytes, little-endian, as a tensor; raise RefusedError unless all are there."""
    kind = NUMBERS[datatype]
    if len(content) != kind.itemsize * math.prod(shape):
        raise RefusedError(
            400,
            f"{name!r} of the shape {list(shape)} and type {datatype} must have "
            f"{kind.itemsize * math.prod(shape)} bytes, got {len(content)}",
        )
    return _shaped(np.frombuffer(content, kind), shape, name)


def _shaped(array: NDArray[Any], shape: tuple[int, ...], name: str) -> Tensor:
    if array.size != math.prod(shape):
        raise RefusedError(
            400, f"{name!r} must have {math.prod(shape)} numbers for its shape {list(shape)}, got {array.size}"
        )
    return torch.from_numpy(np.array(array, order="C").reshape(shape))  # a copy: that of a request cannot be written to


def texts_from_json(data: object, shape: tuple[int, ...], name: str) -> list[str]:
    """Return texts; raise RefusedError unless there are as many as the shape says."""
    texts = cast("list[object]", data) if isinstance(data, list) else [data]
    if not all(isinstance(text, str) for text in texts) or len(texts) != math.prod(shape):
        raise RefusedError(400, f"the data of {name!r} must be a list of {math.prod(shape)} strings, got {brief(data)}")
    return cast("list[str]", texts)


def texts_from_bytes(content: memoryview, shape: tuple[int, ...], name: str) -> list[str]:
    """Return the texts in bytes; raise RefusedError unless there are as many as the shape says."""
    texts, at = list[str](), 0
    try:
        while at < len(content):
            size = int.from_bytes(content[at : at + 4], "little")
            if at + 4 + size > len(content):
                raise ValueError("it is cut off")
            texts.append(str(content[at + 4 : at + 4 + size], "utf-8"))
            at += 4 + size
    except ValueError as error:
        raise RefusedError(400, f"the bytes of {name!r} are not texts with their lengths: {error}") from error
    if len(texts) != math.prod(shape):
        raise RefusedError(
            400, f"{name!r} must have {math.prod(shape)} texts for its shape {list(shape)}, got {len(texts)}"
        )
    return texts


def to_bytes(values: "Tensor | Sequence[str]") -> bytes:
    """Return a tensor or texts as the binary extension has them."""
    if isinstance(values, Tensor):
        array = values.numpy()
        return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
    coded = [text.encode("utf-8", "surrogatepass") for text in values]
    return b"".join(len(text).to_bytes(4, "little") + text for text in coded)
