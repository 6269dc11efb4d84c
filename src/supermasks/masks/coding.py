"""Masks as few bytes, by an entropy coder that knows how many weights each layer keeps.

docs/format.md specifies the bytes, for other programs.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
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
from supermasks.masks.drawn import MOST, Drawn, best_count, levels_bytes, read_levels
from supermasks.masks.integers import read_signed, signed
from supermasks.masks.mask import Mask
from supermasks.masks.parts import (
    Classes,
    Entries,
    Part,
    by_kind,
    expected_counts,
    grouped,
    kept_by,
    parts_of,
    ungrouped,
    with_kept,
)
from supermasks.types import Shape, Shapes

BITS, CODED, RELATIVE, CLUSTERED, BY_LEVELS, RELATIVE_BY_LEVELS = range(6)
"""The first byte of a coded mask: one bit a weight, entropy coded, coded relative to another mask, coded by rows
and columns of each parameter, by the levels of the numbers that its scores began with, or by these and another mask."""

WORTH = 1.008
"""Entropy coding must save this factor over one bit a weight, which reads a hundred times faster."""

CLUSTERED_WORTH = 1.02
"""Rows and columns must save this factor over one probability a layer, which reads ten times faster."""

BY_LEVELS_WORTH = 1.03
"""Levels must save this factor over all other codes: to draw the numbers again takes about as long as to decode."""

_CHUNK = 1 << 16  # entries decoded at once: the coder returns them as int32
_coding: Any = vars(constriction)["stream"]  # it has no types


def encode_mask(mask: Mask, reference: Mask | None = None) -> Tensor:
    """Return a mask as bytes.

    The coder (asymmetric numeral systems, Duda 2009) uses one probability a layer: the fraction of its weights that
    are kept. The code takes `mask.entropy_bytes()` plus a few bytes, at any density. Relative to a reference there are
    two probabilities a layer: one for the weights that the reference keeps, one for the others. Where a layer drops few
    weights, or keeps few, and these cluster in rows and columns, it is coded by how many each row and column has. If it
    is known where the scores of the mask began (`mask.drawn`), there is a probability for each level of these numbers,
    which often saves a third of the bytes or more. The shortest code is returned, plain bits included.

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
    ways = [bytes([CODED]) + _encode(mask)]
    if reference is not None:
        if reference.shapes != mask.shapes:
            raise MaskError(f"expected a reference over {mask.shapes}, got one over {reference.shapes}")
        ways.append(bytes([RELATIVE]) + _encode(mask, kept_by(reference)))
    best = min(ways, key=len)
    choices = {name: best_choice(mask[name].flatten().numpy(), mask.shape(name)) for name in mask}
    if any(choices.values()):
        clustered = bytes([CLUSTERED]) + _encode(mask, choices=choices)
        best = clustered if CLUSTERED_WORTH * len(clustered) <= len(best) else best
    if 1 + mask.nbytes() <= len(best) * WORTH:
        best = bytes([BITS]) + b"".join(bits.numpy().tobytes() for bits in mask.packed.values())
    if mask.drawn is not None and mask.drawn.can_be_stored(mask.shapes):
        # A reference that tells nothing by itself tells nothing beside the levels.
        similar = reference if BY_LEVELS_WORTH * len(ways[-1]) <= len(ways[0]) else None
        by_levels = min(_by_levels(mask, mask.drawn, similar), key=len)
        best = by_levels if BY_LEVELS_WORTH * len(by_levels) <= len(best) else best
    return torch.frombuffer(bytearray(best), dtype=torch.uint8)


def _by_levels(mask: Mask, drawn: Drawn, reference: Mask | None) -> Iterator[bytes]:
    """Return the codes by the levels of the numbers that the scores of a mask began with: alone, beside a reference."""
    finest = drawn.levels(mask.shapes, MOST)
    count = best_count(finest, {name: mask[name].flatten().numpy() for name in mask})
    levels = {name: of // (MOST // count) for name, of in finest.items()}
    head = levels_bytes(drawn, count, levels)
    yield bytes([BY_LEVELS]) + head + _encode(mask, levels, count)
    if reference is not None:
        yield bytes([RELATIVE_BY_LEVELS]) + head + _encode(mask, with_kept(levels, reference), 2 * count)


def is_relative(code: Tensor) -> bool:
    """Return whether decoding needs the reference."""
    return code.numel() > 0 and int(code[0]) in (RELATIVE, RELATIVE_BY_LEVELS)


def decode_mask(code: Tensor, shapes: Shapes, reference: Mask | None = None) -> Mask:
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
    if way > RELATIVE_BY_LEVELS:
        raise MaskError(f"a coded mask must begin with a number up to {RELATIVE_BY_LEVELS}, got {way}; it is damaged")
    beside = reference if is_relative(code) else None
    if is_relative(code) and (beside is None or beside.shapes != dict(shapes)):
        raise MaskError("the mask is coded relative to another mask over the same parameters; pass it as reference")
    if way not in (BY_LEVELS, RELATIVE_BY_LEVELS):
        classes = None if beside is None else kept_by(beside)
        return Mask.pack(_decode(content, shapes, classes, clustered=way == CLUSTERED))
    drawn, count, levels, content = read_levels(content, shapes)
    if beside is None:
        return Mask.pack(_decode(content, shapes, levels, count), drawn)
    return Mask.pack(_decode(content, shapes, with_kept(levels, beside), 2 * count), drawn)


def _encode(
    mask: Mask,
    classes: Classes | None = None,
    kinds: int = 2,
    choices: Mapping[str, Choice | None] | None = None,
) -> bytes:
    parts = list(parts_of(mask.shapes, classes, kinds))
    entries: list[Entries] = []
    for name in mask:
        flat = mask[name].flatten().numpy()
        flat = flat if classes is None else grouped(flat, classes[name], kinds)
        entries += np.split(flat, np.cumsum([part.size for part in parts if part.name == name])[:-1])
    counts = [int(bits.sum()) for bits in entries]
    totals = by_kind(parts, counts, kinds)
    # Counts are stored as the difference from a mask of equal density everywhere.
    numbers = [*totals, *(n - e for n, e in zip(counts, expected_counts(parts, totals), strict=True))]
    content = b"".join(map(signed, numbers))
    if choices is not None:
        parts = [replace(part, choice=choices[part.name]) for part in parts]
        chosen = [part.choice for part in parts]
        content += bytes(0 if choice is None else choice.byte for choice in chosen)
        content += b"".join(signed(choice.most) for choice in chosen if choice is not None)
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


def _dropped(part: Part, count: int) -> bool:
    """Return whether the ones of a parameter are the weights that it drops: always the fewer."""
    return 2 * count > part.size


def _decode(
    content: bytes, shapes: Shapes, classes: Classes | None, kinds: int = 2, clustered: bool = False
) -> dict[str, Tensor]:
    parts = list(parts_of(shapes, classes, kinds))
    numbers, rest = read_signed(content, kinds + len(parts))
    totals, sizes = numbers[:kinds], by_kind(parts, [part.size for part in parts], kinds)
    if any(not 0 <= total <= size for total, size in zip(totals, sizes, strict=True)):
        raise MaskError(f"the coded mask keeps {totals} weights, more than the parameters have; the data are damaged")
    counts = [d + e for d, e in zip(numbers[kinds:], expected_counts(parts, totals), strict=True)]
    if clustered:
        parts, rest = _with_choices(parts, rest)
    if len(rest) % 4:
        raise MaskError("the coded mask is cut off, or belongs to other parameters")
    found: dict[str, list[Entries]] = {name: [] for name in shapes}
    try:
        coder = _coding.stack.AnsCoder(np.frombuffer(rest, dtype="<u4").astype(np.uint32))
        for part, count in zip(parts, counts, strict=True):
            if not 0 <= count <= part.size:
                raise MaskError(f"a mask of {part.size} weights of {part.name!r} cannot keep {count}; it is damaged")
            found[part.name].append(_decode_part(coder, part, count, shapes[part.name]))
    except (ValueError, AssertionError) as error:
        if isinstance(error, MaskError):
            raise
        raise MaskError(f"the coded mask is damaged: {error}") from error
    if not coder.is_empty():
        raise MaskError("the coded mask has data after its last entry; it is damaged")
    entries = {name: np.concatenate(found.pop(name)) for name in shapes}
    for name, of in (classes or {}).items():
        entries[name] = ungrouped(entries[name], of, kinds)
    return {name: torch.from_numpy(bits).view(shapes[name]) for name, bits in entries.items()}


def _with_choices(parts: list[Part], content: bytes) -> tuple[list[Part], bytes]:
    """Return the parts with the choices that the content begins with, and the rest of the content."""
    chosen, content = content[: len(parts)], content[len(parts) :]
    numbers, rest = read_signed(content, sum(byte > 0 for byte in chosen))
    try:
        choices = [Choice.of(byte, numbers.pop(0)) if byte else None for byte in chosen]
    except ValueError as error:
        raise MaskError(f"the coded mask is damaged: {error}") from error
    if len(choices) < len(parts):
        raise MaskError("the coded mask is cut off, or belongs to other parameters")
    return [replace(part, choice=choice) for part, choice in zip(parts, choices, strict=True)], rest


def _decode_part(coder: Any, part: Part, count: int, shape: Shape) -> Entries:
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


def _unpacked(content: bytes, shapes: Shapes) -> Mask:
    lengths = {name: -(-prod(shape) // 8) for name, shape in shapes.items()}
    if sum(lengths.values()) != len(content):
        raise MaskError(f"expected a mask of {sum(lengths.values())} bytes, got {len(content)}; the data are damaged")
    whole = torch.frombuffer(bytearray(content), dtype=torch.uint8) if content else torch.empty(0, dtype=torch.uint8)
    return Mask(dict(zip(lengths, whole.split(list(lengths.values())), strict=True)), shapes)


def _model(count: int, size: int) -> Any:
    return _coding.model.Bernoulli(count / size, perfect=False)
