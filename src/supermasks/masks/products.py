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
LONGEST = 2**23  # entries whose products with 128 certainly add up to less than 2**31
PLANES = 3
IN_CACHE = 2**14  # entries
LARGEST = 127 * 2**16  # of the integers that three digits make
MIDDLE = 0x808080
TINY = 1e-30


def mask_products(rows: Tensor, masks: Sequence[Bits]) -> Tensor:
    """Return `sum_n rows[b, n] M_i[n]` for all rows and all masks, as if in float32.

    On a CPU each row becomes three planes of 8-bit integers, `row = max|row| / 127 (a + b / 256 + c / 256^2)`, which is
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


def listed_products(row: Tensor, masks: Sequence[Bits]) -> Tensor:
    """Return `sum_n row[n] M_i[n]` for a few masks, the very sums of `mask_products`, but sooner.

    Args:
        row: `n`, float32.
        masks: for each of `k` masks its packed bits.

    Returns:
        `k`, float32.
    """
    if row.device.type != "cpu" or len(row) > LONGEST or not masks:
        return mask_products(row[None], masks)[0]
    planes = Planes(row[None], 8 * -(-len(row) // 8))
    return planes.values(planes.products(unpacked(np.stack(masks)).T))[0]


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
        # By numpy: many small operations, of which torch would share each among threads that first have to meet.
        values = rows.numpy()
        digits = np.zeros((planes, len(values), width), dtype=np.int8)
        largest = np.maximum(values.max(axis=1, initial=0), -values.min(axis=1, initial=0))
        # What is not finite must come out as no number, and never as a wrong one.
        finite = np.isfinite(largest)
        whole = np.float32(LARGEST >> 8 * (PLANES - planes))
        # Block by block, so that it stays in the cache from one step to the next.
        block = max(1, min(IN_CACHE, values.shape[1]))
        for row in np.flatnonzero(finite & (largest > 0)):
            # In float32, but where the inverse of a tiny number is too large for it.
            factor = whole / largest[row] if largest[row] > TINY else np.float64(whole) / largest[row]
            for first in range(0, values.shape[1], block):
                part = values[row, first : first + block] * factor
                _write_digits(part, digits[:, row, first : first + len(part)])
        self.digits = torch.from_numpy(digits)
        step = np.where(finite, largest.astype(np.float64) / whole, np.nan)
        worth = 256.0 ** np.arange(planes)[:, None] * step
        self._worth = torch.from_numpy(worth)[:, :, None]

    def products(self, bits: Tensor, start: int = 0) -> Tensor:
        """Return the sums of digits over bits, `n x k` of int8, that belong to the columns from `start` on."""
        digits = self.digits.flatten(0, 1)[:, start : start + len(bits)].contiguous()
        # torch has no public product of 8-bit integers; this one is 30 times faster than one of floats made of them.
        return torch._int_mm(digits, bits)  # pyright: ignore[reportPrivateUsage, reportPrivateImportUsage]

    def values(self, sums: Tensor) -> Tensor:
        """Return what sums over digits, `planes * rows x k`, come to: `rows x k`, float32."""
        return (sums.view(len(self.digits), -1, sums.shape[-1]) * self._worth).sum(dim=0).float()


def _write_digits(values: npt.NDArray[np.floating], digits: npt.NDArray[np.int8]) -> None:
    """Write the digits of numbers of at most `LARGEST`, `planes x n`, the lowest first."""
    np.rint(values, out=values)
    if len(digits) == 1:
        digits[0] = values
        return
    # Digits from -128 to 127 in a base of 256 are the bytes of the number, once each is moved by 128.
    numbers = values.astype("<i4")
    numbers += MIDDLE
    numbers ^= MIDDLE
    for plane, of in zip(digits, numbers.view(np.int8).reshape(-1, 4).T, strict=False):
        plane[:] = of


def unpacked(bits: Bits) -> Tensor:
    """Return packed bits, `... x bytes`, as integers 0 and 1, `... x 8 bytes`, int8."""
    return torch.from_numpy(np.unpackbits(bits, axis=-1, bitorder="little")).view(torch.int8)
