"""Sums over the entries that packed masks keep, as products of 8-bit integers."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from supermasks.errors import MaskError
from supermasks.masks.packing import unpack_bits

PackedBits = npt.NDArray[np.uint8]

UNPACKED_BYTES = 2**24  # at a time, so that they fit into the cache of the processor
LONGEST = 2**23  # entries: their products with 128 add up to less than 2**31
PLANES = 3
IN_CACHE = 2**14  # entries
LARGEST = 127 * 2**16  # the largest integer of three digits
MIDDLE = 0x808080
TINY = 1e-30


def mask_products(rows: Tensor, masks: Sequence[PackedBits]) -> Tensor:
    """Return `sum_n rows[b, n] M_i[n]` for all rows and all masks, to the precision of float32.

    On a CPU each row becomes three planes of 8-bit integers, `row = max|row| / 127 (a + b / 256 + c / 256^2)`: 24 bits,
    relative to its largest entry. The products with masks are summed without rounding, so equal masks have equal sums.
    Unpacked bits are multiplied as they are; converting them to floats would take longer than the product.

    Args:
        rows: `rows x n`, float32.
        masks: the packed bits of `k` masks, as `Mask.bits` returns them.

    Returns:
        `rows x k`, float32, on the device of the rows; NaN for rows that are not finite.

    Raises:
        MaskError: the masks and the rows differ in their number of entries.

    Example:
        >>> mask_products(torch.tensor([[1.0, 2.0, 4.0]]), [np.array([5], np.uint8), np.array([3], np.uint8)])
        tensor([[5., 3.]])
    """
    count, needed = rows.shape[1], -(-rows.shape[1] // 8)
    if wrong := [bits.shape for bits in masks if bits.shape != (needed,)]:
        raise MaskError(f"expected masks of {needed} bytes for rows of {count} entries, got shape {wrong[0]}")
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


def listed_products(row: Tensor, masks: Sequence[PackedBits]) -> Tensor:
    """Return `sum_n row[n] M_i[n]` for a few masks: exactly the sums of `mask_products`, but faster.

    Args:
        row: `n`, float32.
        masks: the packed bits of `k` masks.

    Returns:
        `k`, float32.

    Example:
        >>> listed_products(torch.tensor([1.0, 2.0, 4.0]), [np.array([5], np.uint8)])
        tensor([5.])
    """
    if row.device.type != "cpu" or len(row) > LONGEST or not masks:
        return mask_products(row[None], masks)[0]
    planes = Planes(row[None], 8 * -(-len(row) // 8))
    return planes.values(planes.products(unpacked(np.stack(masks)).T))[0]


class Planes:
    """Rows of floats as planes of 8-bit integers, whose products with bits are summed without rounding.

    Attributes:
        digits: `planes x rows x width`, int8.

    Args:
        rows: `rows x n`, float32, on the CPU.
        width: of a plane, at least `n`; padded with 0.
        planes: 3 for the precision of float32, 1 for 8 bits.
    """

    def __init__(self, rows: Tensor, width: int, planes: int = PLANES) -> None:
        # In numpy: torch would start threads for each of many small operations.
        values = rows.numpy()
        digits = np.zeros((planes, len(values), width), dtype=np.int8)
        largest = np.maximum(values.max(axis=1, initial=0), -values.min(axis=1, initial=0))
        # A row that is not finite must become NaN, never a wrong number.
        finite = np.isfinite(largest)
        whole = np.float32(LARGEST >> 8 * (PLANES - planes))
        # In blocks that stay in the cache from one step to the next.
        block = max(1, min(IN_CACHE, values.shape[1]))
        for row in np.flatnonzero(finite & (largest > 0)):
            # In float32, unless the inverse of a tiny number overflows.
            factor = whole / largest[row] if largest[row] > TINY else np.float64(whole) / largest[row]
            for first in range(0, values.shape[1], block):
                part = values[row, first : first + block] * factor
                _write_digits(part, digits[:, row, first : first + len(part)])
        self.digits = torch.from_numpy(digits)
        step = np.where(finite, largest.astype(np.float64) / whole, np.nan)
        worth = 256.0 ** np.arange(planes)[:, None] * step
        self._worth = torch.from_numpy(worth)[:, :, None]

    def products(self, bits: Tensor, start: int = 0) -> Tensor:
        """Return the sums of digits over bits, `n x k`, int8, which stand for the columns from `start` on."""
        digits = self.digits.flatten(0, 1)[:, start : start + len(bits)].contiguous()
        # torch has no public product of 8-bit integers; converting to floats first would be 30 times slower.
        return torch._int_mm(digits, bits)  # pyright: ignore[reportPrivateUsage, reportPrivateImportUsage]

    def values(self, sums: Tensor) -> Tensor:
        """Return the values of sums over digits, `planes * rows x k`: `rows x k`, float32."""
        return (sums.view(len(self.digits), -1, sums.shape[-1]) * self._worth).sum(dim=0).float()


def _write_digits(values: npt.NDArray[np.floating], digits: npt.NDArray[np.int8]) -> None:
    """Write the digits of numbers up to `LARGEST`, `planes x n`, the lowest first."""
    np.rint(values, out=values)
    if len(digits) == 1:
        digits[0] = values
        return
    # Shifted by 128, the bytes of a number are its digits from -128 to 127 in base 256.
    numbers = values.astype("<i4")
    numbers += MIDDLE
    numbers ^= MIDDLE
    for plane, digit in zip(digits, numbers.view(np.int8).reshape(-1, 4).T, strict=False):
        plane[:] = digit


def unpacked(bits: PackedBits) -> Tensor:
    """Return packed bits, `... x bytes`, as integers 0 and 1, `... x 8 bytes`, int8."""
    return torch.from_numpy(np.unpackbits(bits, axis=-1, bitorder="little")).view(torch.int8)
