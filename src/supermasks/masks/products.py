"""Sums over what many packed masks keep: all masks against all rows, in products of small integers."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from supermasks.errors import MaskError
from supermasks.masks.packing import unpack_bits

Bits = npt.NDArray[np.uint8]

UNPACKED_BYTES = 2**24  # of masks, at a time: what is unpacked should stay in the cache of the processor
LONGEST = 2**23  # entries whose products with 127 certainly add up to less than 2**31
PLANES = 3
IN_CACHE = 2**17  # entries


def mask_products(rows: Tensor, masks: Sequence[Bits]) -> Tensor:
    """Return `sum_n rows[b, n] M_i[n]` for all rows and all masks, as if in float32.

    On a CPU each row becomes three planes of 8-bit integers, `row = max|row| / 127 (a + b / 254 + c / 254^2)`, which is
    24 bits beside its largest entry, and their products with masks are summed without rounding: unpacked bits go
    into the product as they are, where floats would have to be made of them, and equal masks have equal sums.

    Args:
        rows: `rows x n`, float32.
        masks: for each of `k` masks its packed bits, as `Mask.bits` gives them.

    Returns:
        `rows x k`, float32, on the device of the rows; NaN in rows that are not finite.

    Raises:
        MaskError: a mask has not as many entries as the rows.

    Example:
        >>> mask_products(torch.tensor([[1.0, 2.0, 4.0]]), [np.array([5], np.uint8), np.array([3], np.uint8)])
        tensor([[5., 3.]])
    """
    count, needed = rows.shape[1], -(-rows.shape[1] // 8)
    if any(bits.shape != (needed,) for bits in masks):
        raise MaskError(f"rows of {count} entries are multiplied with masks of {needed} bytes, but others came")
    result = torch.zeros(len(rows), len(masks), dtype=torch.float32, device=rows.device)
    if not len(masks) or not needed:
        return result
    planes = Planes(rows, 8 * needed) if rows.device.type == "cpu" else None
    at_once = max(1, UNPACKED_BYTES // (8 * min(needed, LONGEST // 8)))
    for first in range(0, len(masks), at_once):
        some = np.stack(masks[first : first + at_once])
        if planes is None:
            bits = unpack_bits(torch.from_numpy(some).to(rows.device), count)
            result[:, first : first + at_once] = rows @ bits.to(rows.dtype).T
            continue
        sums = torch.zeros(PLANES * len(rows), len(some), dtype=torch.int64)
        for begin in range(0, needed, LONGEST // 8):
            bits = unpacked(some[:, begin : begin + LONGEST // 8])
            sums += planes.products(bits.T, start=8 * begin)
        result[:, first : first + at_once] = planes.values(sums)
    return result


def listed_products(rows: Tensor, masks: Sequence[Bits], lists: Sequence[Sequence[int]]) -> list[Tensor]:
    """Return for each row its sums over some of the masks, `sum_n rows[b, n] M_i[n]` for the `i` of its list.

    Args:
        rows: `rows x n`, float32.
        masks: for each of `k` masks its packed bits.
        lists: for each row the indices of masks.

    Returns:
        for each row `len(list)` sums, float32, the very ones of `mask_products`.
    """
    if rows.device.type != "cpu" or rows.shape[1] > LONGEST:
        return [mask_products(row[None], [masks[i] for i in of])[0] for row, of in zip(rows, lists, strict=True)]
    planes, sums = Planes(rows, 8 * -(-rows.shape[1] // 8)), list[Tensor]()
    for number, of in enumerate(lists):
        one = planes.row(number)
        sums.append(one.values(one.products(unpacked(np.stack([masks[i] for i in of])).T))[0])
    return sums


class Planes:
    """Rows of floats as planes of 8-bit integers, whose products with bits are sums without rounding.

    Attributes:
        digits: `planes x rows x width`, int8.

    Args:
        rows: `rows x n`, float32, on the CPU.
        width: of a plane, at least `n`; what is behind the rows is 0.
        planes: 3 for the precision of float32, 1 for that of 8 bits.
    """

    def __init__(self, rows: Tensor, width: int, planes: int = PLANES) -> None:
        self.digits = torch.zeros(planes, len(rows), width, dtype=torch.int8)
        self._steps = torch.zeros(planes, len(rows), 1, dtype=torch.float64)
        # Some rows at a time, so that they stay in the cache from one plane to the next.
        at_once = max(1, IN_CACHE // max(1, width))
        for first in range(0, len(rows), at_once):
            some = slice(first, first + at_once)
            _divide(rows[some], self.digits[:, some], self._steps[:, some])

    def row(self, number: int) -> "Planes":
        """Return the planes of one row."""
        one = object.__new__(Planes)
        one.digits, one._steps = self.digits[:, number : number + 1], self._steps[:, number : number + 1]
        return one

    def products(self, bits: Tensor, start: int = 0) -> Tensor:
        """Return the sums of digits over bits, `n x k` of int8, that belong to the columns from `start` on."""
        digits = self.digits.flatten(0, 1)[:, start : start + len(bits)].contiguous()
        # torch has no public product of 8-bit integers; this one is 30 times faster than one of floats made of them.
        return torch._int_mm(digits, bits)  # pyright: ignore[reportPrivateUsage, reportPrivateImportUsage]

    def values(self, sums: Tensor) -> Tensor:
        """Return what sums over digits, `planes * rows x k`, come to: `rows x k`, float32."""
        return (sums.view(len(self.digits), -1, sums.shape[-1]) * self._steps).sum(dim=0).float()


def _divide(rows: Tensor, digits: Tensor, steps: Tensor) -> None:
    """Write the digits of some rows, and what a step of each plane is worth."""
    # By numpy: many small operations, of which torch would share each among threads that first have to meet.
    values = rows.numpy()
    largest = np.abs(values).max(axis=1, keepdims=True)
    # What cannot be finite must come out as no number, and never as a wrong one.
    finite = np.isfinite(largest)
    left = values if finite.all() else np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
    step = np.where(finite, largest, 0.0) / np.float32(127)
    for plane, worth in zip(digits.numpy(), steps.numpy(), strict=True):
        # Where there is nothing to divide, or too little for its inverse to be a number, all entries are 0.
        there = step > np.finfo(np.float32).tiny
        whole = left * np.where(there, 1 / np.where(there, step, 1.0), 0.0)
        np.rint(whole, out=whole)
        plane[:, : values.shape[1]] = whole
        whole *= step
        left = left - whole
        worth[:] = np.where(finite, step, np.nan)
        step = step / np.float32(254)


def unpacked(bits: Bits) -> Tensor:
    """Return packed bits, `... x bytes`, as integers 0 and 1, `... x 8 bytes`, int8."""
    return torch.from_numpy(np.unpackbits(bits, axis=-1, bitorder="little")).view(torch.int8)
