"""Masks as few bytes, by an entropy coder that knows how many weights each layer keeps.

docs/format.md specifies the bytes, for other programs.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import constriction  # pyright: ignore[reportMissingTypeStubs]
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from supermasks.errors import MaskError
from supermasks.masks.clustered import Choice, decode_matrix, encode_matrix
from supermasks.masks.clusters import as_matrix, best_choice
from supermasks.masks.mask import Mask
from supermasks.types import Shape

Entries = NDArray[np.bool_]

BITS, CODED, RELATIVE, CLUSTERED = range(4)
"""The first byte of a coded mask: one bit a weight, entropy coded, coded relative to another mask, or coded by the rows
and columns of each parameter."""

WORTH = 1.008
"""Entropy coding must save this factor over one bit a weight, which reads a hundred times faster."""

CLUSTERED_WORTH = 1.02
"""Rows and columns must save this factor over one probability a layer, which reads ten times faster."""

_CHUNK = 1 << 16  # entries decoded at once: the coder returns them as int32
_coding: Any = vars(constriction)["stream"]  # it has no types


def encode_mask(mask: Mask, reference: Mask | None = None) -> Tensor:
    """Return a mask as bytes.

    The coder (asymmetric numeral systems, Duda 2009) uses one probability a layer: the fraction of its weights that
    are kept. The code takes `mask.entropy_bytes()` plus a few bytes, at any density. Relative to a reference there are
    two probabilities a layer: one for the weights that the reference keeps, one for the others. Where a layer drops few
    weights, or keeps few, and these cluster in rows and columns, it is coded by how many each row and column has. The
    shortest code is returned, plain bits included.

    Args:
        mask: to encode.
        reference: a mask that the reader will have; used if it makes the code shorter.

    Returns:
        uint8, empty for a mask without parameters.

    Raises:
        MaskError: the reference has other parameters.

    Example:
        >>> mask = Mask.pack({"weight": torch.arange(10_000) % 100 == 0})
        >>> code = encode_mask(mask)
        >>> len(code), decode_mask(code, mask.shapes) == mask, len(encode_mask(mask, reference=mask))
        (109, True, 6)
    """
    if not mask.shapes:
        return torch.empty(0, dtype=torch.uint8)
    ways = [bytes([CODED]) + _encode(mask, None)]
    choices = {name: best_choice(mask[name].flatten().numpy(), mask.shape(name)) for name in mask}
    if reference is not None:
        if reference.shapes != mask.shapes:
            raise MaskError(f"expected a reference over {mask.shapes}, got one over {reference.shapes}")
        ways.append(bytes([RELATIVE]) + _encode(mask, reference))
    best = min(ways, key=len)
    if any(choices.values()):
        clustered = bytes([CLUSTERED]) + _encode(mask, None, choices)
        best = clustered if CLUSTERED_WORTH * len(clustered) <= len(best) else best
    if 1 + mask.nbytes() <= len(best) * WORTH:
        best = bytes([BITS]) + b"".join(bits.numpy().tobytes() for bits in mask.packed.values())
    return torch.frombuffer(bytearray(best), dtype=torch.uint8)


def is_relative(code: Tensor) -> bool:
    """Return whether decoding needs the reference."""
    return code.numel() > 0 and int(code[0]) == RELATIVE


def decode_mask(code: Tensor, shapes: Mapping[str, tuple[int, ...]], reference: Mask | None = None) -> Mask:
    """Return the mask that `encode_mask` encoded.

    Args:
        code: the bytes, uint8.
        shapes: the shape of each parameter.
        reference: the mask that it was coded relative to, if any.

    Raises:
        MaskError: the bytes do not fit the shapes, or the reference is missing.

    Example:
        >>> mask = Mask.pack({"weight": torch.tensor([True, False, True])})
        >>> decode_mask(encode_mask(mask), {"weight": (3,)}) == mask
        True
    """
    if code.dtype == torch.uint8 and code.shape == (0,) and not shapes:
        return Mask({}, {})
    if code.dtype != torch.uint8 or code.dim() != 1 or not code.numel():
        raise MaskError(f"expected a coded mask, a vector of uint8, got {code.dtype} of shape {tuple(code.shape)}")
    way, content = int(code[0]), code[1:].numpy().tobytes()
    if way == BITS:
        return _unpacked(content, shapes)
    if way not in (CODED, RELATIVE, CLUSTERED):
        raise MaskError(f"a coded mask must begin with a number up to {CLUSTERED}, got {way}; the data are damaged")
    if way == RELATIVE and (reference is None or reference.shapes != dict(shapes)):
        raise MaskError("the mask is coded relative to another mask over the same parameters; pass it as reference")
    return _decode(content, shapes, reference if way == RELATIVE else None, way == CLUSTERED)


@dataclass(frozen=True)
class _Part:
    """Entries that are coded with one probability.

    Attributes:
        name: of the parameter.
        where: selects them among the flattened entries of the parameter; None selects all.
        size: the number of entries.
        kind: 1 for entries that the reference keeps; 0 for the others, and without a reference.
        choice: how its rows and columns are coded; None if it has one probability.
    """

    name: str
    where: Entries | None
    size: int
    kind: int
    choice: Choice | None = None


def _parts(shapes: Mapping[str, tuple[int, ...]], reference: Mask | None) -> Iterator[_Part]:
    for name, shape in shapes.items():
        if reference is None:
            yield _Part(name, None, prod(shape), 0)
            continue
        kept = reference[name].flatten().numpy()
        yield _Part(name, ~kept, len(kept) - int(kept.sum()), 0)
        yield _Part(name, kept, int(kept.sum()), 1)


def _encode(mask: Mask, reference: Mask | None, choices: Mapping[str, Choice | None] | None = None) -> bytes:
    parts = list(_parts(mask.shapes, reference))
    entries: list[Entries] = []
    for part in parts:
        flat = mask[part.name].flatten().numpy()
        entries.append(flat if part.where is None else flat[part.where])
    counts = [int(bits.sum()) for bits in entries]
    totals = [sum(n for n, part in zip(counts, parts, strict=True) if part.kind == kind) for kind in (0, 1)]
    # Counts are stored as the difference from a mask of equal density everywhere.
    numbers = [*totals, *(n - e for n, e in zip(counts, _expected(parts, totals), strict=True))]
    content = b"".join(map(_signed, numbers))
    if choices is not None:
        parts = [replace(part, choice=choices[part.name]) for part in parts]
        chosen = [part.choice for part in parts]
        content += bytes(0 if choice is None else choice.byte for choice in chosen)
        content += b"".join(_signed(choice.most) for choice in chosen if choice is not None)
    coder = _coding.stack.AnsCoder()
    # The coder is a stack: the first to be read is written last.
    for part, bits, count in reversed(list(zip(parts, entries, counts, strict=True))):
        if part.choice is not None:
            matrix = as_matrix(bits, mask.shape(part.name))
            encode_matrix(coder, matrix ^ _dropped(part, count), part.choice)
        elif 0 < count < part.size:  # otherwise the count says it all
            coder.encode_reverse(bits.astype(np.int32), _model(count, part.size))
    words: NDArray[np.uint32] = coder.get_compressed()
    return content + words.astype("<u4").tobytes()


def _dropped(part: _Part, count: int) -> bool:
    """Return whether the ones of a parameter are the weights that it drops: always the fewer."""
    return 2 * count > part.size


def _decode(content: bytes, shapes: Mapping[str, tuple[int, ...]], reference: Mask | None, clustered: bool) -> Mask:
    parts = list(_parts(shapes, reference))
    numbers, rest = _read_signed(content, 2 + len(parts))
    totals = numbers[:2]
    if min(totals) < 0 or any(
        total > sum(part.size for part in parts if part.kind == kind) for kind, total in enumerate(totals)
    ):
        raise MaskError(f"the coded mask keeps {totals} weights, more than the parameters have; the data are damaged")
    counts = [d + e for d, e in zip(numbers[2:], _expected(parts, totals), strict=True)]
    if clustered:
        parts, rest = _with_choices(parts, rest)
    if len(rest) % 4:
        raise MaskError("the coded mask is cut off, or belongs to other parameters")
    entries = {name: np.zeros(prod(shape), dtype=np.bool_) for name, shape in shapes.items()}
    try:
        coder = _coding.stack.AnsCoder(np.frombuffer(rest, dtype="<u4").astype(np.uint32))
        for part, count in zip(parts, counts, strict=True):
            if not 0 <= count <= part.size:
                raise MaskError(f"a mask of {part.size} weights of {part.name!r} cannot keep {count}; it is damaged")
            bits = _decode_part(coder, part, count, shapes[part.name])
            if part.where is None:
                entries[part.name] = bits
            else:
                entries[part.name][part.where] = bits
    except (ValueError, AssertionError) as error:
        if isinstance(error, MaskError):
            raise
        raise MaskError(f"the coded mask is damaged: {error}") from error
    if not coder.is_empty():
        raise MaskError("the coded mask has data after its last entry; it is damaged")
    return Mask.pack({name: torch.from_numpy(bits).view(shapes[name]) for name, bits in entries.items()})


def _with_choices(parts: list[_Part], content: bytes) -> tuple[list[_Part], bytes]:
    """Return the parts with the choices that the content begins with, and the rest of the content."""
    chosen, content = content[: len(parts)], content[len(parts) :]
    numbers, rest = _read_signed(content, sum(byte > 0 for byte in chosen))
    try:
        choices = [Choice.of(byte, numbers.pop(0)) if byte else None for byte in chosen]
    except ValueError as error:
        raise MaskError(f"the coded mask is damaged: {error}") from error
    if len(choices) < len(parts):
        raise MaskError("the coded mask is cut off, or belongs to other parameters")
    return [replace(part, choice=choice) for part, choice in zip(parts, choices, strict=True)], rest


def _decode_part(coder: Any, part: _Part, count: int, shape: Shape) -> Entries:
    if part.choice is not None:
        dropped = _dropped(part, count)
        rows, columns = as_matrix(np.empty(part.size, dtype=np.bool_), shape).shape
        ones = decode_matrix(coder, (rows, columns), part.size - count if dropped else count, part.choice)
        return (ones ^ dropped).reshape(-1)
    bits = np.full(part.size, count > 0)
    if 0 < count < part.size:
        model = _model(count, part.size)
        for start in range(0, part.size, _CHUNK):
            bits[start : start + _CHUNK] = coder.decode(model, min(_CHUNK, part.size - start))
        if int(bits.sum()) != count:
            raise MaskError(f"expected {count} kept weights of {part.name!r}, got {int(bits.sum())}; it is damaged")
    return bits


def _unpacked(content: bytes, shapes: Mapping[str, tuple[int, ...]]) -> Mask:
    lengths = {name: -(-prod(shape) // 8) for name, shape in shapes.items()}
    if sum(lengths.values()) != len(content):
        raise MaskError(f"expected a mask of {sum(lengths.values())} bytes, got {len(content)}; the data are damaged")
    whole = torch.frombuffer(bytearray(content), dtype=torch.uint8) if content else torch.empty(0, dtype=torch.uint8)
    return Mask(dict(zip(lengths, whole.split(list(lengths.values())), strict=True)), shapes)


def _expected(parts: list[_Part], totals: list[int]) -> Iterator[int]:
    sizes = [sum(part.size for part in parts if part.kind == kind) for kind in (0, 1)]
    for part in parts:
        yield (2 * totals[part.kind] * part.size + sizes[part.kind]) // (2 * sizes[part.kind]) if part.size else 0


def _signed(number: int) -> bytes:
    """Return a signed integer as seven bits a byte, low bits first; the eighth bit says that more bytes follow."""
    number, code = 2 * number if number >= 0 else -2 * number - 1, bytearray()
    while number > 127:
        code.append(number & 127 | 128)
        number >>= 7
    return bytes([*code, number])


def _read_signed(content: bytes, count: int) -> tuple[list[int], bytes]:
    numbers, place = list[int](), 0
    for _ in range(count):
        number, shift = 0, 0
        while True:
            if place >= len(content) or shift > 63:
                raise MaskError("the coded mask is cut off, or belongs to other parameters")
            byte = content[place]
            number, shift, place = number | (byte & 127) << shift, shift + 7, place + 1
            if byte < 128:
                break
        numbers.append(number // 2 if number % 2 == 0 else -(number + 1) // 2)
    return numbers, content[place:]


def _model(count: int, size: int) -> Any:
    return _coding.model.Bernoulli(count / size, perfect=False)
