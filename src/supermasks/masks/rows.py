"""Products of rows with masked weights: each group of rows has a mask of its own."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from types import ModuleType
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
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
    return checked_row_products(inputs, weight, [*map(Bits, masks)], counts)


class Packed(Protocol):
    """A packed mask, and where it is in memory. It holds what is there."""

    @property
    def bits(self) -> PackedBits: ...

    @property
    def address(self) -> int: ...


@dataclass(frozen=True, eq=False)
class Bits:
    """A packed mask by itself.

    Attributes:
        bits: in one piece of memory.
    """

    bits: PackedBits

    @property
    def address(self) -> int:
        return address_of(self.bits)


def checked_row_products(inputs: Tensor, weight: Tensor, masks: Sequence[Packed], counts: Sequence[int]) -> Tensor:
    """Return what `row_products` returns, for masks and counts that are known to fit: wrong ones may end the process.

    For thousands of small products, the checks would take longer.
    """
    if not counts:
        return inputs.new_zeros(0, len(weight))
    code = compiled() if _is_plain(weight) and _is_plain(inputs) else None
    if code is None or min(counts) > FEW_ROWS:
        return torch.cat([*_dense(inputs.split(list(counts)), weight, masks)])
    weight, addresses = weight.contiguous(), np.array([mask.address for mask in masks], dtype=np.uint64)
    if len(masks) == len(inputs):
        return _compiled(code, inputs, weight, addresses)
    if max(counts) <= FEW_ROWS:
        return _compiled(code, inputs, weight, addresses.repeat(counts))
    result = torch.empty(len(inputs), len(weight), dtype=torch.float32)
    few = np.array(counts) <= FEW_ROWS
    rows = torch.from_numpy(few.repeat(counts))
    result[rows] = _compiled(code, inputs[rows], weight, addresses[few].repeat(np.array(counts)[few]))
    many = [(mask, part) for mask, part in zip(masks, inputs.split(list(counts)), strict=True) if len(part) > FEW_ROWS]
    result[~rows] = torch.cat([*_dense([part for _, part in many], weight, [mask for mask, _ in many])])
    return result


def _dense(groups: Sequence[Tensor], weight: Tensor, masks: Sequence[Packed]) -> Iterator[Tensor]:
    """Yield the products of each group with its masked weight, which is made for it."""
    buffer = torch.empty_like(weight, memory_format=torch.contiguous_format)
    for rows, mask in zip(groups, masks, strict=True):
        yield rows @ masked_weight(weight, mask.bits, buffer).T


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
        addresses = (weight.data_ptr(), address_of(bits), result.data_ptr())
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


def are_compiled() -> bool:
    """Return whether this process has loaded the compiled products already; that takes half a second."""
    return "supermasks.masks.compiled" in sys.modules and compiled() is not None


def _compiled(code: ModuleType, inputs: Tensor, weight: Tensor, addresses: npt.NDArray[np.uint64]) -> Tensor:
    """Return the products of rows with the masks at these addresses, one for each row."""
    inputs, result = inputs.contiguous(), torch.empty(len(inputs), len(weight), dtype=torch.float32)
    pointers = (weight.data_ptr(), inputs.data_ptr(), address_of(addresses), result.data_ptr())
    code.products(*map(np.uint64, pointers), len(inputs), *weight.shape)
    return result


def address_of(array: npt.NDArray[Any]) -> int:
    """Return where the entries of an array begin in memory."""
    return array.__array_interface__["data"][0]


def _is_plain(tensor: Tensor) -> bool:
    return tensor.device.type == "cpu" and tensor.dtype == torch.float32


def _check(inputs: Tensor, weight: Tensor, masks: Sequence[PackedBits], counts: Sequence[int]) -> None:
    needed = -(-weight.numel() // 8)
    if kinds := {(bits.size, bits.itemsize, bits.strides) for bits in masks} - {(needed, 1, (1,))}:
        raise MaskError(
            f"expected masks of {needed} bytes, without gaps, for a weight of shape {tuple(weight.shape)}, got "
            f"(entries, bytes, strides) {next(iter(kinds))}"
        )
    if inputs.shape != (sum(counts), weight.shape[1]) or len(counts) != len(masks) or min(counts, default=1) < 1:
        raise MaskError(
            f"expected rows of {weight.shape[1]} entries, at least one for each of {len(masks)} masks, got shape "
            f"{tuple(inputs.shape)} in groups of {list(counts)}"
        )
