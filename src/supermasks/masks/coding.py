"""Masks as few bytes: an entropy coder, told only how many weights each layer keeps."""

from collections.abc import Mapping
from math import prod
from typing import Any

import constriction  # pyright: ignore[reportMissingTypeStubs]
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from supermasks.errors import MaskError
from supermasks.masks.mask import Mask

_stream: Any = vars(constriction)["stream"]  # it has no types


def encode_mask(mask: Mask) -> tuple[Tensor, dict[str, int]]:
    """Return a mask as a stream of words, and what must be known to read it.

    Asymmetric numeral systems (Duda 2009) with one probability a layer, the fraction of its weights that are kept: the
    stream takes `mask.entropy_bytes()` and some bytes, whatever the density.

    Returns:
        the stream, int32, and for each parameter the number of weights that it keeps.

    Example:
        >>> mask = Mask.pack({"weight": torch.arange(10_000) % 100 == 0})
        >>> words, kept = encode_mask(mask)
        >>> len(words) * 4, kept, decode_mask(words, kept, mask.shapes) == mask
        (104, {'weight': 100}, True)
    """
    kept = mask.counts()
    coder = _stream.stack.AnsCoder()
    # A stack: what is to be read first is written last.
    for name, shape in reversed(mask.shapes.items()):
        if 0 < kept[name] < prod(shape):  # otherwise there is nothing to tell
            coder.encode_reverse(mask[name].flatten().numpy().astype(np.int32), _model(kept[name], prod(shape)))
    words: NDArray[np.uint32] = coder.get_compressed()
    return torch.from_numpy(words.view(np.int32).copy()), kept


def decode_mask(words: Tensor, kept: Mapping[str, int], shapes: Mapping[str, tuple[int, ...]]) -> Mask:
    """Return the mask that `encode_mask` made a stream of.

    Args:
        words: the stream, int32.
        kept: for each parameter the number of weights that it keeps.
        shapes: the shape of each parameter.

    Raises:
        MaskError: the stream does not fit the numbers and shapes.
    """
    if words.dtype != torch.int32 or words.dim() != 1 or list(kept) != list(shapes):
        raise MaskError(
            f"a coded mask is a stream of int32 and a number for each of {list(shapes)}, but {words.dtype} of shape "
            f"{tuple(words.shape)} and numbers for {list(kept)} came"
        )
    entries: dict[str, Tensor] = {}
    try:
        coder = _stream.stack.AnsCoder(words.numpy().view(np.uint32))
        for name, shape in shapes.items():
            size, count = prod(shape), kept[name]
            if not 0 <= count <= size:
                raise MaskError(f"parameter {name!r} has {size} weights, so that it cannot keep {count}")
            bits: NDArray[Any] = np.full(size, count > 0)
            if 0 < count < size:
                bits = coder.decode(_model(count, size), size).astype(np.bool_)
            if int(bits.sum()) != count:
                raise MaskError(f"the coded mask keeps {int(bits.sum())} weights of {name!r}, not {count}")
            entries[name] = torch.from_numpy(bits).view(shape)
    except (ValueError, AssertionError) as error:
        if isinstance(error, MaskError):
            raise
        raise MaskError(f"the coded mask is damaged: {error}") from error
    if not coder.is_empty():
        raise MaskError("the coded mask has words behind its last entry; the data are damaged")
    return Mask.pack(entries)


def _model(count: int, size: int) -> Any:
    return _stream.model.Bernoulli(count / size, perfect=False)
