"""Products of rows with masked weights: each group of rows has a mask of its own."""

from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from types import ModuleType

import numpy as np
import torch
from torch import Tensor

from supermasks.errors import MaskError
from supermasks.masks.packing import unpack_bits
from supermasks.masks.products import PackedBits

FEW_ROWS = 12
"""Up to so many rows, a compiled product from packed bits is faster than making the masked weight first."""


def row_products(inputs: Tensor, weight: Tensor, masks: Sequence[PackedBits], counts: Sequence[int]) -> Tensor:
    """Return `(W * M_g) x_r` for each row `r` of each group `g`: a linear layer with a mask for each group.

    With numba (extra `fast`), groups of a few rows are computed on the CPU straight from the packed bits. Otherwise the
    masked weight of one group after the other is made. The results are those of `inputs @ (weight * mask).T`, up to
    rounding.

    Args:
        inputs: `rows x in`, float32, the rows of each group one after the other.
        weight: `W`, `out x in`, float32.
        masks: the packed bits of the mask of each group, as `Mask.bits` returns them.
        counts: the number of rows of each group.

    Returns:
        `rows x out`, on the device of the weight.

    Raises:
        MaskError: the masks do not fit the weight, or the counts do not fit the rows and masks.

    Example:
        >>> first, second = np.array([1], np.uint8), np.array([3], np.uint8)
        >>> row_products(torch.ones(3, 2), torch.tensor([[1.0, 10.0]]), [first, second], [1, 2])
        tensor([[ 1.],
                [11.],
                [11.]])
    """
    _check(inputs, weight, masks, counts)
    groups = list(zip(masks, inputs.split(list(counts)), strict=True))
    code = compiled() if _is_plain(weight) and _is_plain(inputs) else None
    if code is None or min(counts, default=0) > FEW_ROWS:
        buffer = torch.empty_like(weight)
        parts = [rows @ masked_weight(weight, bits, buffer).T for bits, rows in groups]
        return torch.cat(parts) if parts else inputs.new_zeros(0, len(weight))
    result = torch.empty(len(inputs), len(weight), dtype=torch.float32)
    weight, buffer = weight.contiguous(), None
    few = [each for each, count in enumerate(counts) if count <= FEW_ROWS]
    if len(few) < len(counts):
        for (bits, rows), part in zip(groups, result.split(list(counts)), strict=True):
            if len(rows) > FEW_ROWS:
                buffer = torch.empty_like(weight) if buffer is None else buffer
                torch.mm(rows, masked_weight(weight, bits, buffer).T, out=part)
    repeats = np.array(counts)
    addresses = np.array([_address(masks[each]) for each in few], dtype=np.uint64).repeat(repeats[few])
    if len(few) == len(counts):
        _write_products(code, inputs.contiguous(), weight, addresses, result)
        return result
    rows = torch.from_numpy(np.repeat(repeats <= FEW_ROWS, repeats)).nonzero().flatten()
    some = torch.empty(len(rows), len(weight), dtype=torch.float32)
    _write_products(code, inputs[rows], weight, addresses, some)
    result[rows] = some
    return result


def masked_weight(weight: Tensor, bits: PackedBits, out: Tensor | None = None) -> Tensor:
    """Return `W * M` for the packed bits of a mask, bit for bit as a product of tensors.

    Args:
        weight: `W`.
        bits: as `Mask.bits` returns them.
        out: a contiguous tensor of the same kind to write into; None makes a new one.
    """
    result = torch.empty_like(weight, memory_format=torch.contiguous_format) if out is None else out
    count = weight.numel()
    code = compiled() if _is_plain(weight) and weight.is_contiguous() else None
    whole = 0
    if code is not None and count:
        addresses = (weight.data_ptr(), _address(bits), result.data_ptr())
        code.masked(*map(np.uint64, addresses), count)
        whole = count - count % code.LANES
    if whole < count:
        # `whole` is a multiple of 8.
        rest = torch.from_numpy(bits[whole // 8 :].copy()).to(weight.device)
        entries = unpack_bits(rest, count - whole).view(torch.uint8)
        torch.mul(weight.reshape(-1)[whole:], entries, out=result.view(-1)[whole:])
    return result


@cache
def compiled() -> ModuleType | None:
    """Return the compiled products; None if numba is not installed (extra `fast`)."""
    if find_spec("numba") is None:
        return None
    from supermasks.masks import compiled as code

    return code


def _write_products(code: ModuleType, inputs: Tensor, weight: Tensor, addresses: np.ndarray, result: Tensor) -> None:
    pointers = (weight.data_ptr(), inputs.data_ptr(), _address(addresses), result.data_ptr())
    code.products(*map(np.uint64, pointers), len(inputs), *weight.shape)


def _address(array: np.ndarray) -> int:
    return array.__array_interface__["data"][0]


def _is_plain(tensor: Tensor) -> bool:
    return tensor.device.type == "cpu" and tensor.dtype == torch.float32


def _check(inputs: Tensor, weight: Tensor, masks: Sequence[PackedBits], counts: Sequence[int]) -> None:
    needed = -(-weight.numel() // 8)
    if wrong := [bits for bits in masks if bits.shape != (needed,) or bits.dtype != np.uint8]:
        raise MaskError(
            f"expected masks of {needed} bytes (uint8) for a weight of shape {tuple(weight.shape)}, got "
            f"{wrong[0].dtype} of shape {wrong[0].shape}"
        )
    if inputs.shape != (sum(counts), weight.shape[1]) or len(counts) != len(masks) or min(counts, default=1) < 1:
        raise MaskError(
            f"expected rows of {weight.shape[1]} entries, at least one for each of {len(masks)} masks, got shape "
            f"{tuple(inputs.shape)} in groups of {list(counts)}"
        )
    if wrong := [bits for bits in masks if not bits.flags.c_contiguous]:
        raise MaskError("expected contiguous masks, got a view with gaps; use numpy.ascontiguousarray(bits)")
