"""A shift of a small parameter, in whole steps."""

import json
import zlib
from collections.abc import Mapping
from math import prod
from typing import ClassVar

import torch
from torch import Tensor

from supermasks.changes.change import Change, Shape, Shapes
from supermasks.errors import MaskError

CODES, STEPS, NAMES = "codes", "steps", "names"
MOST_NAMES = 1 << 24
"""The most bytes of names that are read from a file."""


class Shifted(Change):
    """`E = W + step * c`: `c` is a whole number from -127 to 127 in each entry.

    It suits biases and the scales and shifts of normalisation, which are few: an entry takes one byte.

    Args:
        codes: `c`, int8, in the shape of the parameter; copied.
        step: not negative and finite; rounded to float32.

    Raises:
        MaskError: the codes are not int8, or the step is invalid.

    Example:
        >>> Shifted(torch.tensor([2, -1], dtype=torch.int8), 0.5).applied(torch.ones(2))
        tensor([2.0000, 0.5000])
    """

    key: ClassVar[str] = "shifted"
    parts: ClassVar[tuple[str, ...]] = ("codes", "step")

    def __init__(self, codes: Tensor, step: float) -> None:
        rounded = torch.tensor(step, dtype=torch.float32)
        if codes.dtype != torch.int8 or not bool(rounded.isfinite()) or step < 0:
            raise MaskError(f"expected int8 codes and a finite step of at least 0, got {codes.dtype} and {step}")
        self._codes, self.step = codes.detach().cpu().clone(), float(rounded)

    @classmethod
    def nearest(cls, difference: Tensor) -> "Shifted":
        """Return the shift that is nearest to a difference from the shared value, with its largest entry at +-127."""
        step = float(difference.abs().max()) / 127 if difference.numel() else 0.0
        return cls((difference / step).round().to(torch.int8) if step else difference.to(torch.int8), step)

    @property
    def shape(self) -> Shape:
        return tuple(self._codes.shape)

    @property
    def nbytes(self) -> int:
        return self._codes.numel() + 4

    def applied(self, weight: Tensor) -> Tensor:
        return weight + self._codes.to(weight.device, weight.dtype) * self.step

    def tensors(self) -> dict[str, Tensor]:
        return {"codes": self._codes, "step": torch.tensor(self.step, dtype=torch.float32)}

    @classmethod
    def restored(cls, tensors: Mapping[str, Tensor], shape: Shape | None) -> "Shifted":
        codes, step = tensors["codes"], tensors["step"]
        if (shape is not None and tuple(codes.shape) != shape) or step.dtype != torch.float32 or step.dim():
            raise MaskError(
                f"expected codes of shape {shape} and one float32 step, got {tuple(codes.shape)} and {step.dtype} of "
                f"shape {tuple(step.shape)}; restore the file from a copy"
            )
        return cls(codes, float(step))

    @classmethod
    def encode(
        cls, changes: Mapping[str, "Shifted"], before: Mapping[str, "Shifted"]
    ) -> tuple[dict[str, Tensor], bool]:
        # One tensor for all: each tensor of a file costs a hundred bytes.
        del before
        names = json.dumps({name: change.shape for name, change in changes.items()}, separators=(",", ":"))
        return {
            CODES: torch.cat([change._codes.flatten() for change in changes.values()]),
            STEPS: torch.tensor([change.step for change in changes.values()], dtype=torch.float32),
            NAMES: torch.frombuffer(bytearray(zlib.compress(names.encode(), 9)), dtype=torch.uint8),
        }, False

    @classmethod
    def decode(
        cls, tensors: Mapping[str, Tensor], shapes: Shapes, rest: Shapes, before: Mapping[str, "Shifted"]
    ) -> dict[str, "Shifted"]:
        del rest, before
        if set(tensors) != {CODES, STEPS, NAMES}:
            raise MaskError(f"expected {CODES}, {STEPS} and {NAMES} of shifts, got {sorted(tensors)}")
        own = _named_shapes(tensors[NAMES])
        lengths, codes = [prod(shape) for shape in own.values()], tensors[CODES]
        if min(lengths, default=0) < 0 or sum(lengths) != codes.numel() or len(tensors[STEPS]) != len(own):
            raise MaskError(
                f"expected {sum(lengths)} codes and {len(own)} steps of shifts, got {codes.numel()} and "
                f"{len(tensors[STEPS])}; restore the file from a copy"
            )
        of = zip(own.items(), codes.split(lengths), tensors[STEPS], strict=True)
        return {
            name: cls.restored({"codes": some.view(shape), "step": step}, shapes.get(name, shape))
            for (name, shape), some, step in of
        }


def _named_shapes(code: Tensor) -> dict[str, Shape]:
    reader = zlib.decompressobj()
    try:
        text = reader.decompress(code.numpy().tobytes(), MOST_NAMES)
        if not reader.eof:
            raise ValueError("they are cut off, or too long")
        return {str(name): tuple(int(n) for n in shape) for name, shape in json.loads(text).items()}
    except (zlib.error, ValueError, TypeError, AttributeError) as error:
        raise MaskError(f"expected the names of shifted parameters, got other bytes: {error}") from error
