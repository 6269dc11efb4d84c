"""The weights that a task has trained, stored as changes from the base."""

import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, get_args

import constriction  # pyright: ignore[reportMissingTypeStubs]
import numpy as np
import torch
from torch import Tensor

from supermasks.errors import ConfigError, MaskError, TrainingError
from supermasks.masks import Mask, decode_mask, encode_mask

Precision = Literal["float32", "float16", "int8", "int4"]
"""How the trained weights of a task are stored."""

PRECISIONS: tuple[Precision, ...] = get_args(Precision)

_LARGEST: dict[str, int] = {"int8": 127, "int4": 7}
_FLOATS = {"float32": torch.float32, "float16": torch.float16}
_CLIPPING = np.linspace(0.25, 1.0, 16)

_coding: Any = vars(constriction)["stream"]  # it has no types


@dataclass(frozen=True, eq=False)
class Owned:
    """The weights that a task has trained, at some positions of its mask (ExSSNeT, Section 3.1: `M_free`).

    The weight at an owned position is `base + scale * code`. Changes need fewer bits than weights, since most are
    small.

    Attributes:
        mask: the owned positions, over the parameters of the task's mask.
        codes: one change for each position of a parameter, row by row: float32, float16, or int8.
        scales: the factor of the codes of each parameter; 1 for floats.
        precision: of the codes; "int4" is -7..7.
        exclusive: whether the task left the weights of all earlier masks untouched (ExSSNeT). It can only be added to a
            bank in which no mask keeps a position that it owns.

    Raises:
        ConfigError: the precision is unknown.
        MaskError: the codes do not fit the mask or the precision, or are not finite.

    Example:
        >>> mask, base = Mask.pack({"w": torch.tensor([True, False])}), {"w": torch.tensor([1.0, 2.0])}
        >>> owned = Owned.of(mask, base, {"w": torch.tensor([1.5])})
        >>> owned.codes, owned.write(base, base)
        ({'w': tensor([0.5000])}, {'w': tensor([1.5000, 2.0000])})
    """

    mask: Mask
    codes: Mapping[str, Tensor]
    scales: Mapping[str, float]
    precision: Precision = "float32"
    exclusive: bool = False

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise ConfigError(
                f"the precision of weights must be one of {', '.join(PRECISIONS)}, got {self.precision!r}"
            )
        dtype, largest = _FLOATS.get(self.precision, torch.int8), _LARGEST.get(self.precision)
        counts = self.mask.counts()
        if list(self.codes) != list(counts) or list(self.scales) != list(counts):
            raise MaskError(
                f"expected codes and scales for {list(counts)}, got {list(self.codes)} and {list(self.scales)}"
            )
        for name, codes in self.codes.items():
            if codes.dtype != dtype or tuple(codes.shape) != (counts[name],):
                raise MaskError(
                    f"expected {counts[name]} codes of {name!r} as {dtype} for precision {self.precision}, got "
                    f"{codes.dtype} of shape {tuple(codes.shape)}"
                )
            if not (bool(torch.isfinite(codes).all()) and np.isfinite(self.scales[name])):
                raise MaskError(f"the changes of {name!r} are not finite; the data are damaged")
            if largest is not None and codes.numel() and int(codes.to(torch.int16).abs().max()) > largest:
                raise MaskError(f"the changes of {name!r} exceed {self.precision}; the data are damaged")
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
        """Return the changes from the base to trained weights, rounded to a precision.

        The scale of integer codes minimises the squared error of each parameter.

        Args:
            mask: the owned positions.
            base: the weights before training, for each parameter.
            weights: the trained weights at the owned positions of each parameter, row by row.
            precision: of the changes.
            exclusive: whether the task left the weights of all earlier masks untouched.

        Raises:
            ConfigError: the precision is unknown.
            TrainingError: a change is too large for it.
        """
        if precision not in PRECISIONS:
            raise ConfigError(f"the precision of weights must be one of {', '.join(PRECISIONS)}, got {precision!r}")
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
                    raise TrainingError(
                        f"a weight of {name!r} changed by {float(change.abs().max()):g}, too much for {precision}; "
                        "lower the learning rate, or store the weights as float32, int8 or int4"
                    )
        return cls(mask, codes, scales, precision, exclusive)

    def without(self, names: Collection[str]) -> "Owned | None":
        """Return the rest after dropping these parameters; None if nothing is left."""
        kept = {name: torch.zeros_like(self.mask[name]) if name in names else self.mask[name] for name in self.mask}
        codes = {name: codes[:0] if name in names else codes for name, codes in self.codes.items()}
        if not any(code.numel() for code in codes.values()):
            return None
        return replace(self, mask=Mask.pack(kept), codes=codes)

    def write(self, base: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return a copy of weights, with `base + scale * code` at the owned positions.

        Args:
            base: the weights before training.
            weights: to copy; not changed.
        """
        written = dict(weights)
        for name, codes in self.codes.items():
            if codes.numel():
                place, value = self.mask[name].to(base[name].device), weights[name].clone()
                value[place] = base[name][place] + codes.to(value) * self.scales[name]
                written[name] = value
        return written

    def encode(self, within: Mask) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return tensors and JSON data for `decode`.

        Positions are coded relative to a mask that the reader knows, integers by their frequencies.

        Args:
            within: the mask of the task, which contains the owned positions.

        Raises:
            MaskError: an owned position is not in that mask.
        """
        if (self.mask - within).count():
            raise MaskError("owned positions must be in the mask of the task, got some outside of it")
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
            coder = _coding.stack.AnsCoder()
            if symbols.size:
                coder.encode_reverse(symbols, _model(about["frequencies"]))
            codes = torch.from_numpy(coder.get_compressed().view(np.int32).copy())
        return {**tensors, "changes": codes}, about

    @classmethod
    def decode(cls, tensors: Mapping[str, Tensor], about: Mapping[str, Any], within: Mask) -> "Owned":
        """Return the result of `encode` as an `Owned` again.

        Raises:
            MaskError: the data do not fit the mask or each other.
        """
        precision = about["precision"]
        if precision not in PRECISIONS:
            raise MaskError(f"stored weights must be one of {', '.join(PRECISIONS)}, got {precision!r}")
        mask = decode_mask(tensors["positions"], within.shapes, within)
        counts = mask.counts()
        codes, total = tensors["changes"], sum(counts.values())
        if precision in _LARGEST:
            codes = _decode_integers(codes, total, about["frequencies"], _LARGEST[precision])
        if codes.dim() != 1 or len(codes) != total:
            raise MaskError(f"expected changes of {total} weights, got shape {tuple(codes.shape)}; the file is damaged")
        return cls(
            mask,
            dict(zip(counts, codes.split(list(counts.values())), strict=True)),
            {name: float(about["scales"][name]) for name in counts},
            precision,
            bool(about.get("exclusive", False)),
        )

    def ordered(self, names: Iterable[str]) -> "Owned":
        """Return the same, with the parameters in the order of these names."""
        mask = self.mask.ordered(names)
        codes, scales = ({name: each[name] for name in mask} for each in (self.codes, self.scales))
        return Owned(mask, codes, scales, self.precision, self.exclusive)  # pyright: ignore[reportArgumentType]

    def digest(self) -> str:
        """Return the SHA-256 of positions and changes, independent of the order of parameters."""
        return self._digest

    @cached_property
    def _digest(self) -> str:
        # Cached: a network asks for it each time that it gets the state.
        shapes, packed, content = self.mask.shapes, self.mask.packed, hashlib.sha256(self.precision.encode())
        for name in sorted(shapes):
            content.update(repr((name, shapes[name], self.scales[name])).encode())
            for value in (packed[name], self.codes[name]):
                content.update(value.contiguous().view(torch.uint8).numpy().tobytes())
        return content.hexdigest()

    def nbytes(self, within: Mask) -> int:
        """Return the size of the coded positions and changes in bytes, without the JSON data."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self.encode(within)[0].values())


def _scale(change: Tensor, largest: int) -> float:
    """Return the step between integers that minimises the squared rounding error."""
    values = change.numpy().astype(np.float64)
    extreme = float(np.abs(values).max(initial=0.0))
    if extreme == 0:
        return 1.0

    def error(step: float) -> float:
        return float(np.square(values - step * np.clip(np.round(values / step), -largest, largest)).sum())

    # Rounded to float32, as used in computing the weights.
    return float(np.float32(min((float(clip) * extreme / largest for clip in _CLIPPING), key=error)))


def _decode_integers(words: Tensor, total: int, frequencies: Any, largest: int) -> Tensor:
    symbols = np.empty(0, dtype=np.int32)
    if words.dtype != torch.int32 or words.dim() != 1:
        raise MaskError(f"coded weights must be int32, got {words.dtype}; the file is damaged")
    counted = [int(n) for n in frequencies]
    if len(counted) != 2 * largest + 1 or min(counted) < 0 or sum(counted) != total:
        raise MaskError("the frequencies of the coded weights do not fit their number; the file is damaged")
    try:
        coder = _coding.stack.AnsCoder(words.numpy().view(np.uint32))
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
    return _coding.model.Categorical(np.array(frequencies, dtype=np.float64), perfect=False)
