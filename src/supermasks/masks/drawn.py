"""The random numbers that the scores of a mask began with: whoever knows them needs fewer bits for the mask."""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from supermasks.errors import MaskError
from supermasks.masks.integers import read_signed, signed
from supermasks.seeding import generator
from supermasks.types import Shape, Shapes

Levels = NDArray[np.uint8]

MOST = 64
"""So many levels at most."""

LEVELS = (64, 32, 16, 8)
"""How many levels the numbers may be divided into, from 0 to 1, all equally wide."""

COUNT_BITS = 12.0
"""About what it takes to say how many entries of a level are kept, in bits."""

LARGEST_SEED, MOST_WORDS, LONGEST_WORD = 2**62, 8, 1000

LARGEST = 2**28
"""Entries of a parameter, at most: to sort them takes 8 bytes each."""

_AT_ONCE = 1 << 20  # an even number, since two numbers come from one draw


@dataclass(frozen=True)
class Drawn:
    """Where the scores of a mask began: a number from 0 to 1 for each entry, drawn at random and never stored.

    A score that began far above the threshold is rarely below it after training. So these numbers tell much about the
    mask, and `encode_mask` makes use of it.

    Attributes:
        seed: of the random numbers.
        purpose: of the random numbers, without the name of the parameter (see `supermasks.seeding`).

    Example:
        >>> Drawn(0, ("scores", "cats")).numbers("weight", (2,))
        array([0.21873814, 0.00211298], dtype=float32)
    """

    seed: int
    purpose: tuple[str, ...]

    def can_be_stored(self, shapes: Shapes) -> bool:
        """Return whether the code of a mask over these parameters can say so: it has little room, and is sorted."""
        lengths = [len(part.encode("utf-8", "replace")) for part in self.purpose]
        few = len(lengths) <= MOST_WORDS and max(lengths) <= LONGEST_WORD and _are_sortable(shapes)
        return few and 0 <= self.seed < LARGEST_SEED

    def numbers(self, name: str, shape: Shape) -> NDArray[np.float32]:
        """Return the numbers of a parameter, at least 0 and below 1, in its shape."""
        # asarray: a parameter without dimensions would become a number.
        return np.asarray(generator(self.seed, *self.purpose, name).random(shape, dtype=np.float32))

    def levels(self, shapes: Shapes, count: int) -> dict[str, Levels]:
        """Return for each entry, flat, in which of `count` equal parts of the range from 0 to 1 its number is.

        Args:
            shapes: of the parameters.
            count: a power of 2, so that no rounding matters.
        """
        return {name: self._levels(name, prod(shape), count) for name, shape in shapes.items()}

    def _levels(self, name: str, entries: int, count: int) -> Levels:
        """Draw some numbers after the other, since a number takes four times as much memory as a level."""
        rng, levels = generator(self.seed, *self.purpose, name), np.empty(entries, dtype=np.uint8)
        for start in range(0, entries, _AT_ONCE):
            some = levels[start : start + _AT_ONCE]
            some[:] = rng.random(len(some), dtype=np.float32) * count
        return levels


def _are_sortable(shapes: Shapes) -> bool:
    return all(prod(shape) <= LARGEST for shape in shapes.values())


def checksum(levels: Mapping[str, Levels]) -> int:
    """Return the CRC-32 of the levels of all entries: another version of numpy must draw the same ones."""
    found = 0
    for values in levels.values():
        found = zlib.crc32(values.tobytes(), found)
    return found


def best_count(levels: Mapping[str, Levels], entries: Mapping[str, NDArray[np.bool_]]) -> int:
    """Return how many levels make a mask shortest, by estimate.

    Args:
        levels: of each entry, among `MOST`.
        entries: of the mask, flat.
    """
    sizes = np.stack([np.bincount(of, minlength=MOST) for of in levels.values()])
    kept = np.stack([np.bincount(of[entries[name]], minlength=MOST) for name, of in levels.items()])
    return min(LEVELS, key=lambda count: _bits(_merged(kept, count), _merged(sizes, count)))


def _merged(numbers: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    return numbers.reshape(len(numbers), count, -1).sum(axis=2)


def _bits(kept: NDArray[np.int64], sizes: NDArray[np.int64]) -> float:
    """Return the entropy of entries with one probability a level and parameter, and what the probabilities take."""
    p = kept / np.maximum(sizes, 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        each = -np.nan_to_num(p * np.log2(p)) - np.nan_to_num((1 - p) * np.log2(1 - p))
    return float((sizes * each).sum()) + COUNT_BITS * prod(sizes.shape)


def levels_bytes(drawn: Drawn, count: int, levels: Mapping[str, Levels]) -> bytes:
    """Return what `read_levels` needs to know: the number of levels, seed and purpose, and a checksum."""
    words = [word.encode() for word in drawn.purpose]
    numbers = signed(count) + signed(drawn.seed) + signed(len(words)) + b"".join(signed(len(word)) for word in words)
    return numbers + b"".join(words) + checksum(levels).to_bytes(4, "little")


def read_levels(content: bytes, shapes: Shapes) -> tuple[Drawn, int, dict[str, Levels], bytes]:
    """Return where scores began, the number of levels, the level of each entry, and the rest of the content.

    Raises:
        MaskError: the bytes are damaged, or this version of numpy draws other numbers.
    """
    if not _are_sortable(shapes):
        raise MaskError(f"a mask by levels has at most {LARGEST:,} entries of a parameter; the data are damaged")
    (count, seed, number), content = read_signed(content, 3)
    if count not in LEVELS or not 0 <= seed < LARGEST_SEED or not 1 <= number <= MOST_WORDS:
        raise MaskError(f"a coded mask cannot have {count} levels, the seed {seed} and {number} words; it is damaged")
    lengths, content = read_signed(content, number)
    if min(lengths) < 0 or max(lengths) > LONGEST_WORD or sum(lengths) + 4 > len(content):
        raise MaskError("the coded mask is cut off, or belongs to other parameters")
    words = list[str]()
    for length in lengths:
        try:
            words.append(content[:length].decode())
        except UnicodeDecodeError:
            raise MaskError("the coded mask has a purpose that is no text; it is damaged") from None
        content = content[length:]
    drawn = Drawn(seed, tuple(words))
    levels = drawn.levels(shapes, count)
    if checksum(levels) != int.from_bytes(content[:4], "little"):
        raise MaskError(
            "the mask is coded by other random numbers than this computer draws: the data are damaged, belong to other "
            f"parameters, or were written with a numpy that draws others than {np.__version__}"
        )
    return drawn, count, levels, content[4:]
