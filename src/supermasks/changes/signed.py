"""Three states and a scale: the task keeps, drops or flips each shared weight."""

from collections.abc import Mapping
from math import prod
from typing import ClassVar

import torch
from torch import Tensor

from supermasks.changes.change import Shape, Shapes
from supermasks.changes.together import StoredTogether
from supermasks.errors import MaskError
from supermasks.masks import Mask, decode_mask, encode_mask, pack_bits, unpack_bits

KEPT, UPRIGHT, SCALES = "kept", "upright", "scales"


class Signed(StoredTogether):
    """`E = s * T * W`: `T` is 1 (keep), 0 (drop) or -1 (flip) in each entry, `s` is one scale.

    On disk, two masks are entropy coded together with those of all other parameters: what is not dropped, and what is
    not flipped. A scale takes two bytes.

    Args:
        states: `T`, int8, in the shape of the parameter; copied.
        scale: `s`; rounded to float16.

    Raises:
        MaskError: a state is not -1, 0 or 1, or float16 cannot hold the scale.

    Example:
        >>> Signed(torch.tensor([1, 0, -1], dtype=torch.int8), 0.5).applied(torch.tensor([2.0, 4.0, 6.0]))
        tensor([ 1.,  0., -3.])
    """

    key: ClassVar[str] = "signed"

    def __init__(self, states: Tensor, scale: float) -> None:
        if states.dtype != torch.int8 or not bool(((states >= -1) & (states <= 1)).all()):
            got = states.dtype if states.dtype != torch.int8 else "other numbers"
            raise MaskError(f"expected states of -1, 0 and 1 as int8, got {got}")
        states = states.detach().cpu()
        self._set(
            pack_bits(states != 0),
            pack_bits(states >= 0),
            torch.tensor(scale, dtype=torch.float16),
            tuple(states.shape),
        )

    def _set(self, kept: Tensor, upright: Tensor, scale: Tensor, shape: Shape) -> None:
        if not bool(scale.isfinite()):
            raise MaskError(
                f"expected a finite scale of at most 65504, got {float(scale)}; lower the learning rate, or restore "
                "the file from a copy"
            )
        self._kept, self._upright, self._scale, self._shape = kept, upright, scale, shape

    @property
    def shape(self) -> Shape:
        return self._shape

    @property
    def nbytes(self) -> int:
        return len(self._kept) + len(self._upright) + 2

    @property
    def scale(self) -> float:
        """`s`."""
        return float(self._scale)

    @property
    def states(self) -> Tensor:
        """`T`, int8, in the shape of the parameter."""
        upright = unpack_bits(self._upright, prod(self._shape)).view(self._shape)
        return self.used().to(torch.int8) * (2 * upright.to(torch.int8) - 1)

    def used(self) -> Tensor:
        return unpack_bits(self._kept, prod(self._shape)).view(self._shape)

    def applied(self, weight: Tensor) -> Tensor:
        return weight * self.states.to(weight.device, weight.dtype) * self.scale

    @classmethod
    def encode(cls, changes: Mapping[str, "Signed"], before: Mapping[str, "Signed"]) -> tuple[dict[str, Tensor], bool]:
        del before
        shapes = {name: change.shape for name, change in changes.items()}
        return {
            KEPT: encode_mask(Mask({name: change._kept for name, change in changes.items()}, shapes)),
            UPRIGHT: encode_mask(Mask({name: change._upright for name, change in changes.items()}, shapes)),
            SCALES: torch.stack([change._scale for change in changes.values()]),
        }, False

    @classmethod
    def decode(
        cls, tensors: Mapping[str, Tensor], shapes: Shapes, rest: Shapes, before: Mapping[str, "Signed"]
    ) -> dict[str, "Signed"]:
        del before
        if set(tensors) != {KEPT, UPRIGHT, SCALES}:
            raise MaskError(f"expected {KEPT}, {UPRIGHT} and {SCALES} of signed masks, got {sorted(tensors)}")
        kept, upright = (decode_mask(tensors[name], rest).packed for name in (KEPT, UPRIGHT))
        scales, made = tensors[SCALES], dict[str, Signed]()
        if scales.dtype != torch.float16 or tuple(scales.shape) != (len(rest),):
            raise MaskError(
                f"expected {len(rest)} scales as float16 for signed masks, got {scales.dtype} of shape "
                f"{tuple(scales.shape)}; restore the file from a copy"
            )
        for (name, shape), scale in zip(rest.items(), scales, strict=True):
            if bool((~unpack_bits(kept[name], prod(shape)) & ~unpack_bits(upright[name], prod(shape))).any()):
                raise MaskError(
                    f"expected no weight of {name!r} both dropped and flipped; restore the file from a copy"
                )
            made[name] = object.__new__(cls)
            made[name]._set(kept[name], upright[name], scale.clone(), tuple(shape))
        return made
