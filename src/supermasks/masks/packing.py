"""Bits in bytes: one mask entry a bit, on any device."""

import numpy as np
import torch
from torch import Tensor

from supermasks.errors import MaskError


def pack_bits(entries: Tensor) -> Tensor:
    """Pack a boolean tensor of any shape into bytes, eight entries a byte.

    Entry `n` of the flattened tensor is bit `n % 8` of byte `n // 8`, the lowest bit first. Bits after the last entry
    are 0.

    Returns:
        `ceil(entries / 8)`, uint8.

    Raises:
        MaskError: the tensor is not boolean.

    Example:
        >>> pack_bits(torch.tensor([True, False, True]))
        tensor([5], dtype=torch.uint8)
    """
    if entries.dtype != torch.bool:
        raise MaskError(f"expected a boolean tensor, got {entries.dtype}; compare it first, as in scores >= 0")
    if entries.device.type == "cpu":
        return torch.from_numpy(np.packbits(entries.flatten().numpy(), bitorder="little"))
    flat = entries.flatten().to(torch.uint8)
    padded = torch.nn.functional.pad(flat, (0, -len(flat) % 8)).view(-1, 8)
    return (padded << _bit_positions(flat.device)).sum(dim=1, dtype=torch.uint8)


def unpack_bits(packed: Tensor, count: int) -> Tensor:
    """Return the first `count` entries of packed bits, as booleans.

    Args:
        packed: `... x ceil(count / 8)`, uint8, from `pack_bits`.
        count: the number of entries.

    Returns:
        `... x count`, bool.

    Raises:
        MaskError: the number of bytes is not `ceil(count / 8)`.

    Example:
        >>> unpack_bits(torch.tensor([5], dtype=torch.uint8), 3)
        tensor([ True, False,  True])
    """
    if packed.dtype != torch.uint8 or packed.shape[-1:] != (-(-count // 8),):
        raise MaskError(
            f"expected {-(-count // 8)} bytes (uint8) for {count} entries, got {packed.dtype}, {tuple(packed.shape)}"
        )
    if packed.device.type == "cpu":
        # numpy is 15x faster than shifting tensors.
        return torch.from_numpy(np.unpackbits(packed.numpy(), axis=-1, count=count, bitorder="little")).view(torch.bool)
    bits = (packed.unsqueeze(-1) >> _bit_positions(packed.device)) & 1
    return bits.flatten(-2)[..., :count].to(torch.bool)


def count_bits(packed: Tensor) -> int:
    """Return the number of set bits.

    Example:
        >>> count_bits(torch.tensor([5, 255], dtype=torch.uint8))
        10
    """
    counts = torch.arange(256, device=packed.device, dtype=torch.uint8)
    counts = ((counts.unsqueeze(-1) >> _bit_positions(packed.device)) & 1).sum(dim=-1)
    return int(counts[packed.to(torch.int64)].sum())


def _bit_positions(device: torch.device) -> Tensor:
    return torch.arange(8, dtype=torch.uint8, device=device)
