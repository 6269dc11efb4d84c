"""The weights that a task has trained: which they are, and how far each is from the base."""

import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, get_args

import constriction  # pyright: ignore[reportMissingTypeStubs]
import numpy as np
import torch
from torch import Tensor

from supermasks.errors import ConfigError, MaskError
from supermasks.masks import Mask, decode_mask, encode_mask

Precision = Literal["float32", "float16", "int8", "int4"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)

_LARGEST: dict[str, int] = {"int8": 127, "int4": 7}
_FLOATS = {"float32": torch.float32, "float16": torch.float16}
_CLIPPING = np.linspace(0.25, 1.0, 16)

_stream: Any = vars(constriction)["stream"]  # it has no types


@dataclass(frozen=True, eq=False)
class Owned:
    """Changes of weights, at some of the positions of a mask (ExSSNeT, Section 3.1: the weights of `M_free`).

    The weight at an owned position is `base + scale * code`. Changes need fewer bits than weights: most are small.

    Attributes:
        mask: the owned positions, over the parameters of the task's mask.
        codes: for each parameter one change a position, row by row: float32, float16, or int8.
        scales: what the code 1 of a parameter stands for; 1 where codes are floats.
        precision: of the codes; those of "int4" lie in -7..7.
        exclusive: whether the task spared what the tasks before it keep (ExSSNeT), so that it can only follow tasks of
            which no mask keeps a position that it owns.

    Raises:
        ConfigError: there is no such precision.
        MaskError: names or numbers of codes are not those of the mask, or a code is not of the precision, or not
            finite.
    """

    mask: Mask
    codes: Mapping[str, Tensor]
    scales: Mapping[str, float]
    precision: Precision = "float32"
    exclusive: bool = False

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise ConfigError(
                f"the precision of weights is one of {', '.join(PRECISIONS)}, but {self.precision!r} came"
            )
        dtype, largest = _FLOATS.get(self.precision, torch.int8), _LARGEST.get(self.precision)
        counts = self.mask.counts()
        if list(self.codes) != list(counts) or list(self.scales) != list(counts):
            raise MaskError(f"changes are needed for each of {list(counts)}, but those of {list(self.codes)} came")
        for name, codes in self.codes.items():
            if codes.dtype != dtype or tuple(codes.shape) != (counts[name],):
                raise MaskError(
                    f"the task owns {counts[name]} weights of {name!r} in {self.precision}, but {codes.dtype} of shape "
                    f"{tuple(codes.shape)} came"
                )
            if not (bool(torch.isfinite(codes).all()) and np.isfinite(self.scales[name])):
                raise MaskError(f"the changes of {name!r} are not finite; the data are damaged")
            if largest is not None and codes.numel() and int(codes.to(torch.int16).abs().max()) > largest:
                raise MaskError(f"the changes of {name!r} are not of {self.precision}; the data are damaged")
        object.__setattr__(self, "codes", {name: codes.clone() for name, codes in self.codes.items()})
        object.__setattr__(self, "scales", dict(self.scales))

    @classmethod
    def of(
        cls,
        mask: Mask,
        base: Mapping[str, Tensor],
        weights: Mapping[str, Tensor],
        precision: Precision = "float32",
        exclusive: bool = False,
    ) -> "Owned":
        """Return the changes from the base to other weights, rounded to a precision.

        Integers are spaced evenly, from the scale that makes the sum of squared errors of a parameter smallest.

        Args:
            mask: the owned positions.
            base: for each parameter the weights that they change.
            weights: for each parameter one weight an owned position, row by row.
            precision: of the changes.
            exclusive: whether the task spared what the tasks before it keep.

        Raises:
            ConfigError: there is no such precision, or a change is too large for it.
        """
        if precision not in PRECISIONS:
            raise ConfigError(f"the precision of weights is one of {', '.join(PRECISIONS)}, but {precision!r} came")
        codes: dict[str, Tensor] = {}
        scales: dict[str, float] = {}
        for name in mask:
            change = weights[name].detach().cpu().float() - base[name].cpu()[mask[name]]
            scales[name] = _scale(change, _LARGEST[precision]) if precision in _LARGEST else 1.0
            if precision in _LARGEST:
                largest = _LARGEST[precision]
                codes[name] = (change / scales[name]).round().clamp(-largest, largest).to(torch.int8)
            else:
                codes[name] = change.to(_FLOATS[precision])
                if bool((codes[name].isinf() & change.isfinite()).any()):
                    raise ConfigError(
                        f"a weight of {name!r} was changed by {float(change.abs().max()):g}, which {precision} cannot "
                        "hold; keep the weights in float32, int8 or int4"
                    )
        return cls(mask, codes, scales, precision, exclusive)

    def without(self, names: Collection[str]) -> "Owned | None":
        """Return what is owned of other parameters than these; None if that is nothing."""
        kept = {name: torch.zeros_like(self.mask[name]) if name in names else self.mask[name] for name in self.mask}
        codes = {name: codes[:0] if name in names else codes for name, codes in self.codes.items()}
        if not any(code.numel() for code in codes.values()):
            return None
        return replace(self, mask=Mask.pack(kept), codes=codes)

    def write(self, base: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return weights with those that the task owns written into a copy, `base + scale * code`.

        Args:
            base: the weights that were changed.
            weights: the weights to write into; they stay as they are.
        """
        written = dict(weights)
        for name, codes in self.codes.items():
            if codes.numel():
                place, value = self.mask[name].to(base[name].device), weights[name].clone()
                value[place] = base[name][place] + codes.to(value) * self.scales[name]
                written[name] = value
        return written

    def encode(self, within: Mask) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return tensors and JSON data that `decode` makes the same of.

        Positions are coded among those of a mask that the reader knows; integers by their frequencies.

        Args:
            within: the mask of the task, of which the owned positions are a part.

        Raises:
            MaskError: an owned position is not in that mask.
        """
        if (self.mask - within).count():
            raise MaskError("a task can own only weights that its mask keeps")
        tensors = {"positions": encode_mask(self.mask, within)}
        about: dict[str, Any] = {
            "precision": self.precision,
            "scales": self.scales,
            "exclusive": self.exclusive,
        }
        codes = torch.cat([*self.codes.values(), torch.empty(0, dtype=_FLOATS.get(self.precision, torch.int8))])
        if self.precision in _LARGEST:
            symbols = codes.numpy().astype(np.int32) + _LARGEST[self.precision]
            about["frequencies"] = np.bincount(symbols, minlength=2 * _LARGEST[self.precision] + 1).tolist()
            coder = _stream.stack.AnsCoder()
            if symbols.size:
                coder.encode_reverse(symbols, _model(about["frequencies"]))
            codes = torch.from_numpy(coder.get_compressed().view(np.int32).copy())
        return {**tensors, "changes": codes}, about

    @classmethod
    def decode(cls, tensors: Mapping[str, Tensor], about: Mapping[str, Any], within: Mask) -> "Owned":
        """Return what was encoded.

        Raises:
            MaskError: the data do not fit the mask or each other.
        """
        precision = about["precision"]
        if precision not in PRECISIONS:
            raise MaskError(f"the file holds weights in the unknown precision {precision!r}")
        mask = decode_mask(tensors["positions"], within.shapes, within)
        counts = mask.counts()
        codes, total = tensors["changes"], sum(counts.values())
        if precision in _LARGEST:
            codes = _decode_integers(codes, total, about["frequencies"], _LARGEST[precision])
        if codes.dim() != 1 or len(codes) != total:
            raise MaskError(f"the file holds changes of shape {tuple(codes.shape)} of {total} weights; it is damaged")
        return cls(
            mask,
            dict(zip(counts, codes.split(list(counts.values())), strict=True)),
            {name: float(about["scales"][name]) for name in counts},
            precision,
            bool(about.get("exclusive", False)),
        )

    def ordered(self, names: Iterable[str]) -> "Owned":
        """Return the same with the parameters in the order of these names."""
        mask = self.mask.ordered(names)
        codes, scales = ({name: of[name] for name in mask} for of in (self.codes, self.scales))
        return Owned(mask, codes, scales, self.precision, self.exclusive)  # pyright: ignore[reportArgumentType]

    def digest(self) -> str:
        """Return a SHA-256 of positions and changes."""
        return self._digest

    @cached_property
    def _digest(self) -> str:
        # Kept: a network asks for it each time that it is handed the state.
        # By name: the same whatever the order of the parameters is.
        shapes, packed, content = self.mask.shapes, self.mask.packed, hashlib.sha256(self.precision.encode())
        for name in sorted(shapes):
            content.update(repr((name, shapes[name], self.scales[name])).encode())
            for value in (packed[name], self.codes[name]):
                content.update(value.contiguous().view(torch.uint8).numpy().tobytes())
        return content.hexdigest()

    def nbytes(self, within: Mask) -> int:
        """Return the bytes that the positions and changes take when coded, without what is said about them."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self.encode(within)[0].values())


def _scale(change: Tensor, largest: int) -> float:
    """Return the step between integers, of which the sum of squared rounding errors is smallest."""
    values = change.numpy().astype(np.float64)
    extreme = float(np.abs(values).max(initial=0.0))
    if extreme == 0:
        return 1.0

    def error(step: float) -> float:
        return float(np.square(values - step * np.clip(np.round(values / step), -largest, largest)).sum())

    # As a float32: the number that the weights are computed with.
    return float(np.float32(min((float(clip) * extreme / largest for clip in _CLIPPING), key=error)))


def _decode_integers(words: Tensor, total: int, frequencies: Any, largest: int) -> Tensor:
    symbols = np.empty(0, dtype=np.int32)
    if words.dtype != torch.int32 or words.dim() != 1:
        raise MaskError(f"coded weights are a stream of int32, but {words.dtype} came; the file is damaged")
    counted = [int(n) for n in frequencies]
    if len(counted) != 2 * largest + 1 or min(counted) < 0 or sum(counted) != total:
        raise MaskError("the frequencies of the coded weights do not fit their number; the file is damaged")
    try:
        coder = _stream.stack.AnsCoder(words.numpy().view(np.uint32))
        if total:
            symbols = coder.decode(_model(counted), total)
        if not coder.is_empty() or np.bincount(symbols, minlength=len(counted)).tolist() != counted:
            raise MaskError("the coded weights are damaged")
    except (ValueError, AssertionError) as error:
        if isinstance(error, MaskError):
            raise
        raise MaskError(f"the coded weights are damaged: {error}") from error
    return torch.from_numpy((symbols - largest).astype(np.int8))


def _model(frequencies: list[int]) -> Any:
    return _stream.model.Categorical(np.array(frequencies, dtype=np.float64), perfect=False)
