"""A difference from the shared weight, as a mask, signs and scales."""

from collections.abc import Mapping, Sequence
from math import prod
from typing import ClassVar

import torch
from torch import Tensor

from supermasks.changes.change import Shape, Shapes
from supermasks.changes.together import StoredTogether
from supermasks.errors import MaskError
from supermasks.masks import Mask, decode_mask, encode_mask, pack_bits, unpack_bits

MASK, SIGNS, SCALES = "mask", "signs", "scales"


class Difference(StoredTogether):
    """`E = W + s * S`: `S` is -1, 0 or 1 in each entry, `s` is one scale, or one scale for each output.

    The entries with `S = 0` keep the shared weight. This is the form of a compressed fine-tune: a mask, the signs of
    what the mask keeps, and scales (TALL-masks, BitDelta, T-Switch).

    On disk, the mask is entropy coded together with those of all other parameters, a sign takes one bit, and a scale
    takes two bytes.

    Args:
        signs: `S`, int8, in the shape of the parameter; copied.
        scales: `s`, float16, one value, or as many as the first dimension of the parameter.

    Raises:
        MaskError: a sign is not -1, 0 or 1, or the scales do not fit the shape or are not finite.

    Example:
        >>> signs = torch.tensor([[1, 0], [-1, 1]], dtype=torch.int8)
        >>> Difference(signs, torch.tensor([0.5, 2.0]).half()).applied(torch.ones(2, 2))
        tensor([[ 1.5000,  1.0000],
                [-1.0000,  3.0000]])
    """

    key: ClassVar[str] = "difference"

    def __init__(self, signs: Tensor, scales: Tensor) -> None:
        if signs.dtype != torch.int8 or not bool(((signs >= -1) & (signs <= 1)).all()):
            got = signs.dtype if signs.dtype != torch.int8 else "other numbers"
            raise MaskError(f"expected signs of -1, 0 and 1 as int8, got {got}")
        kept = signs.detach().cpu() != 0
        self._set(pack_bits(kept), pack_bits(signs.detach().cpu()[kept] > 0), scales, tuple(signs.shape))

    @classmethod
    def packed(cls, kept: Tensor, positive: Tensor, scales: Tensor, shape: Shape) -> "Difference":
        """Return the difference of packed bits.

        Args:
            kept: where `S` is not 0, as `pack_bits` returns it.
            positive: whether it is 1, for each entry kept, row by row, packed.
            scales: as of the class.
            shape: of the parameter.

        Raises:
            MaskError: the scales do not fit the shape or are not finite.
        """
        made = object.__new__(cls)
        made._set(kept, positive, scales, tuple(shape))
        return made

    def _set(self, kept: Tensor, positive: Tensor, scales: Tensor, shape: Shape) -> None:
        if scales.dtype != torch.float16 or tuple(scales.shape) not in ((1,), tuple(shape[:1])):
            raise MaskError(
                f"expected one scale or {shape[:1]} scales as float16 for a difference of shape {shape}, got "
                f"{scales.dtype} of shape {tuple(scales.shape)}"
            )
        if not bool(scales.isfinite().all()):
            raise MaskError("expected finite scales for a difference, got NaN or infinity")
        self._kept, self._positive, self._shape = kept, positive, shape
        self._scales = scales.detach().cpu().clone()

    @property
    def shape(self) -> Shape:
        return self._shape

    @property
    def nbytes(self) -> int:
        return len(self._kept) + len(self._positive) + 2 * len(self._scales)

    @property
    def kept(self) -> Tensor:
        """Where the task differs from the shared weight, boolean, in the shape of the parameter."""
        return unpack_bits(self._kept, prod(self._shape)).view(self._shape)

    @property
    def signs(self) -> Tensor:
        """`S`, int8, in the shape of the parameter."""
        kept = self.kept
        signs = torch.zeros(self._shape, dtype=torch.int8)
        signs[kept] = unpack_bits(self._positive, int(kept.sum())).to(torch.int8) * 2 - 1
        return signs

    @property
    def scales(self) -> Tensor:
        """A copy of `s`."""
        return self._scales.clone()

    def applied(self, weight: Tensor) -> Tensor:
        scales = self._scales.to(weight.device, weight.dtype).view(-1, *[1] * (len(self._shape) - 1))
        return weight + self.signs.to(weight.device, weight.dtype) * scales

    @classmethod
    def encode(
        cls, changes: Mapping[str, "Difference"], before: Mapping[str, "Difference"]
    ) -> tuple[dict[str, Tensor], bool]:
        del before
        mask = Mask({n: c._kept for n, c in changes.items()}, {n: c.shape for n, c in changes.items()})
        signs = [unpack_bits(change._positive, mask.counts()[name]) for name, change in changes.items()]
        by_output = any(len(change._scales) > 1 for change in changes.values())
        scales = [c._scales.expand(c.shape[0]) if by_output else c._scales for c in changes.values()]
        return {MASK: encode_mask(mask), SIGNS: pack_bits(torch.cat(signs)), SCALES: torch.cat(scales)}, False

    @classmethod
    def decode(
        cls, tensors: Mapping[str, Tensor], shapes: Shapes, rest: Shapes, before: Mapping[str, "Difference"]
    ) -> dict[str, "Difference"]:
        del before
        if set(tensors) != {MASK, SIGNS, SCALES}:
            raise MaskError(f"expected {MASK}, {SIGNS} and {SCALES} of differences, got {sorted(tensors)}")
        mask = decode_mask(tensors[MASK], rest)
        counts = mask.counts()
        signs = unpack_bits(tensors[SIGNS], sum(counts.values())).split(list(counts.values()))
        scales = _by_parameter(tensors[SCALES], list(rest.values()))
        return {
            name: cls.packed(kept, pack_bits(of), scale, rest[name])
            for (name, kept), of, scale in zip(mask.packed.items(), signs, scales, strict=True)
        }


def _by_parameter(scales: Tensor, shapes: Sequence[Shape]) -> list[Tensor]:
    """Return the scales of each parameter: one each, or one for each output."""
    for lengths in ([1] * len(shapes), [shape[0] if shape else 1 for shape in shapes]):
        if tuple(scales.shape) == (sum(lengths),):
            return list(scales.split(lengths))
    raise MaskError(
        f"expected one scale for each of {len(shapes)} parameters, or for each of their outputs, got "
        f"{tuple(scales.shape)}; restore the file from a copy"
    )
