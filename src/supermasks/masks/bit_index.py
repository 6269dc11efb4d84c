"""Which masks keep a given weight: the bits of many masks, transposed."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from supermasks.masks.products import PackedBits, Planes, unpacked

TRANSPOSED_AT_ONCE = 64  # masks
LOOKED_UP_AT_ONCE = 512  # weights


class BitIndex:
    """One bit a mask for each weight: looks up a few weights in all masks.

    Takes as much memory as the packed masks.

    Args:
        masks: the packed bits of `k` masks, as `Mask.bits` returns them.
        entries: the number of weights of each mask.

    Example:
        >>> import torch
        >>> index = BitIndex([np.array([5], np.uint8), np.array([3], np.uint8)], entries=3)
        >>> index.products(torch.tensor([1, 2]), torch.tensor([10.0, 1.0])).round()
        tensor([ 1., 10.])
    """

    def __init__(self, masks: Sequence[PackedBits], entries: int) -> None:
        self._count = len(masks)
        self._bits = np.zeros((entries, -(-len(masks) // 8)), dtype=np.uint8)
        for first in range(0, len(masks), TRANSPOSED_AT_ONCE):
            some = np.stack(masks[first : first + TRANSPOSED_AT_ONCE])
            bits = np.unpackbits(some, axis=1, count=entries, bitorder="little")
            transposed = np.packbits(np.ascontiguousarray(bits.T), axis=1, bitorder="little")
            self._bits[:, first // 8 : first // 8 + transposed.shape[1]] = transposed

    @property
    def nbytes(self) -> int:
        """The size in bytes."""
        return self._bits.nbytes

    def products(self, weights: Tensor, values: Tensor) -> Tensor:
        """Return `sum_t values[t] M_i[weights[t]]` for all masks, with values rounded to 8 bits of the largest.

        Args:
            weights: `t`, int64, the indices of weights.
            values: `t`, float32.

        Returns:
            `k`, float32.
        """
        planes, numbers = Planes(values[None], len(values), planes=1), weights.numpy()
        sums = torch.zeros(1, 8 * self._bits.shape[1], dtype=torch.int32)
        # In blocks: the unpacked bits should fit into the cache of the processor.
        for first in range(0, len(numbers), LOOKED_UP_AT_ONCE):
            bits = unpacked(self._bits[numbers[first : first + LOOKED_UP_AT_ONCE]])
            sums += planes.products(bits, start=first)
        return planes.values(sums)[0, : self._count]
