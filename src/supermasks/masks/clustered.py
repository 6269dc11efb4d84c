"""A code for few ones in a matrix, which cluster in its rows and in its columns.

docs/format.md specifies the code, for other programs. Each number is an integer, or one operation of float64 on others,
so that all machines compute the same.
"""

from dataclasses import dataclass
from typing import Any

import constriction  # pyright: ignore[reportMissingTypeStubs]
import numpy as np
from numpy.typing import NDArray

Bits = NDArray[np.bool_]
Symbols = NDArray[np.int32]
Integers = NDArray[np.int64]
Floats = NDArray[np.float64]

STRENGTHS = tuple(2.0**n for n in range(-3, 8))
"""How much alike places or lines may be: the number of ones that the common rate counts as, for each of them."""

UNIT = 8  # an integer, so that weights of places are integers
PRIOR = 8.0  # the number of lines that the negative binomial distribution counts as
SPARSE = 8  # at most this part of the entries is coded by halving lines, which takes long
_AT_ONCE = 1 << 18  # entries of the lines that are coded together

_coding: Any = vars(constriction)["stream"]  # it has no types
_bernoulli: Any = _coding.model.Bernoulli(perfect=False)
_categorical: Any = _coding.model.Categorical(perfect=False)


@dataclass(frozen=True)
class Choice:
    """How a matrix is coded.

    Attributes:
        columns: whether the lines are its columns, not its rows.
        places: an index of `STRENGTHS`: how much alike the places of a line are.
        lines: an index of `STRENGTHS`: how much alike the numbers of ones of the lines are.
        most: the largest number of ones in a line.
    """

    columns: bool
    places: int
    lines: int
    most: int

    @property
    def byte(self) -> int:
        """The choice without `most` as a number, from 1 to 242."""
        return 1 + self.columns + 2 * (self.places + len(STRENGTHS) * self.lines)

    @classmethod
    def of(cls, byte: int, most: int) -> "Choice":
        """Return the choice of a number, with the largest number of ones in a line.

        Raises:
            ValueError: no choice has this number.
        """
        lines, places = divmod((byte - 1) // 2, len(STRENGTHS))
        if not 0 <= lines < len(STRENGTHS):
            raise ValueError(f"no choice has the number {byte}")
        return cls(bool((byte - 1) % 2), places, lines, most)


class Writer:
    """Notes symbols; the coder is a stack, so the last is written first."""

    def __init__(self) -> None:
        self._noted: list[tuple[Any, ...]] = []

    def symbols(self, values: NDArray[Any] | None, count: int, model: Any, *parameters: Floats) -> Symbols:
        """Note symbols, and return them."""
        del count
        assert values is not None  # it is given the matrix
        noted = values.astype(np.int32)
        self._noted.append((noted, model, *parameters))
        return noted

    def write(self, coder: Any) -> None:
        """Write all symbols."""
        for noted in reversed(self._noted):
            coder.encode_reverse(*noted)


class Reader:
    """Reads symbols."""

    def __init__(self, coder: Any) -> None:
        self._coder = coder

    def symbols(self, values: NDArray[Any] | None, count: int, model: Any, *parameters: Floats) -> Symbols:
        """Return the next symbols."""
        del values
        return self._coder.decode(model, *(parameters or (count,)))


Stream = Writer | Reader


def encode_matrix(coder: Any, ones: Bits, choice: Choice) -> None:
    """Push a matrix onto a coder.

    Args:
        coder: an `AnsCoder`.
        ones: `rows x columns`.
        choice: how it is coded.
    """
    lines, writer = ones.T if choice.columns else ones, Writer()
    code_lines(writer, lines.shape, int(ones.sum()), choice, lines)
    writer.write(coder)


def decode_matrix(coder: Any, shape: tuple[int, int], count: int, choice: Choice) -> Bits:
    """Pop a matrix from a coder.

    Args:
        coder: an `AnsCoder`.
        shape: the numbers of rows and columns.
        count: the number of ones.
        choice: how it is coded.

    Raises:
        ValueError: no matrix is coded like this.
    """
    lines, places = shape[::-1] if choice.columns else shape
    if not 0 <= choice.most <= places:
        raise ValueError(f"a line of {places} places cannot have {choice.most} ones")
    ones = code_lines(Reader(coder), (lines, places), count, choice, None)
    if int(ones.sum()) != count:
        raise ValueError(f"expected {count} ones, got {int(ones.sum())}")
    return ones.T if choice.columns else ones


def code_lines(stream: Stream, shape: tuple[int, int], count: int, choice: Choice, ones: Bits | None) -> Bits:
    """Code a matrix of ones and zeros line after line, and return it.

    A line `i` has `b_i` ones. Its place `j` has the weight `s_j + strength`, where `s_j` of the lines before have a one
    there. So a one is likely where rows and columns have many.

    Args:
        stream: written to, or read from.
        shape: the numbers of lines and of places in a line.
        count: the number of ones.
        choice: how the matrix is coded; its orientation is not used.
        ones: `lines x places` if it is written, None if it is read.

    Raises:
        ValueError: the matrix has more ones than `count`, or is too dense for this code.
    """
    (lines, places), most = shape, choice.most
    found = np.zeros(shape, dtype=np.bool_)
    before, seen = np.zeros(places, dtype=np.int64), np.zeros(most + 1)
    usual = PRIOR * negative_binomial(count / lines, STRENGTHS[choice.lines], most)
    done, halved, left = 0, 0, count
    while done < lines:
        size = min(lines - done, max(4, done // 2), max(1, _AT_ONCE // places))
        some = None if ones is None else ones[done : done + size]
        known = None if some is None else some.sum(axis=1)
        counts = stream.symbols(known, size, _coding.model.Categorical(seen + usual, perfect=False))
        left -= int(counts.sum())
        halved += int(counts[counts < places].sum())
        if left < 0 or SPARSE * halved > lines * places:
            raise ValueError("it has more ones than it says, or than this code is for")
        found[done : done + size] = _coded_lines(stream, counts, UNIT * before + (1 << choice.places), some)
        seen += np.bincount(counts, minlength=most + 1)
        before += found[done : done + size].sum(axis=0)
        done += size
    return found


def negative_binomial(mean: float, strength: float, most: int) -> Floats:
    """Return the probabilities of 0, ..., `most` ones in a line, whose sum is 1."""
    k = np.arange(most, dtype=np.float64)
    table = _from_ratios(((k + strength) / (k + 1) * (mean / (mean + strength)))[None])[0]
    return table / np.cumsum(table)[-1]


def _from_ratios(ratios: Floats) -> Floats:
    """Return `t_0, ..., t_n` for each row of ratios `t_(k+1) / t_k`, which fall; the largest is about 1.

    Products up to the largest, and down from it, cannot overflow.
    """
    one = np.ones((len(ratios), 1))
    with np.errstate(divide="ignore"):
        rising = np.minimum(1 / ratios, 1)[:, ::-1]
    behind = np.cumprod(np.concatenate([one, np.minimum(ratios, 1)], axis=1), axis=1)
    ahead = np.cumprod(np.concatenate([one, rising], axis=1), axis=1)[:, ::-1]
    return behind * ahead


def _coded_lines(stream: Stream, counts: Symbols, weights: Integers, ones: Bits | None) -> Bits:
    """Code where the ones of some lines are: halve each line again and again, and code the ones of each left half.

    Args:
        stream: written to, or read from.
        counts: the number of ones of each line.
        weights: how likely a one is at each place.
        ones: `lines x places` if they are written, None if they are read.
    """
    places = len(weights)
    edges = np.zeros((len(counts), places + 1), dtype=np.int8)
    weight = np.concatenate([[0], np.cumsum(weights)])
    total = None
    if ones is not None:
        total = np.zeros((len(counts), places + 1), dtype=np.int64)
        np.cumsum(ones, axis=1, out=total[:, 1:])
    line, count = np.arange(len(counts)), counts.astype(np.int64)
    first, last = np.zeros_like(line), np.full_like(line, places)
    while True:
        whole = (count > 0) & (count == last - first)
        edges[line[whole], first[whole]] += 1
        edges[line[whole], last[whole]] -= 1
        open_ = (count > 0) & ~whole
        if not open_.any():
            return np.cumsum(edges[:, :-1], axis=1, dtype=np.int8).view(np.bool_)
        line, first, last, count = line[open_], first[open_], last[open_], count[open_]
        middle = (first + last) // 2
        known = None if total is None else total[line, middle] - total[line, first]
        left = _halves(stream, count, middle - first, last - middle, _odds(weight, first, middle, last), known)
        line = np.repeat(line, 2)
        first, last = np.stack([first, middle], 1).ravel(), np.stack([middle, last], 1).ravel()
        count = np.stack([left, count - left], 1).ravel()


def _odds(weight: Integers, first: Integers, middle: Integers, last: Integers) -> Floats:
    """Return how much likelier a one is at a place of the left half than at one of the right half."""
    left, right = (weight[b] - weight[a] for a, b in ((first, middle), (middle, last)))
    return (left.astype(np.float64) * (last - middle)) / (right.astype(np.float64) * (middle - first))


def _halves(
    stream: Stream, count: Integers, left: Integers, right: Integers, odds: Floats, known: Integers | None
) -> Integers:
    """Code how many of `count` ones are in the left half: Fisher's noncentral hypergeometric distribution."""
    least, most = np.maximum(count - right, 0), np.minimum(count, left)
    found = np.empty_like(count)
    for pair in (True, False):
        which = np.flatnonzero((most - least == 1) == pair)
        if not len(which):
            continue
        low, n, a, b = least[which, None], count[which, None], left[which, None], right[which, None]
        k = low + np.arange(int((most - least)[which].max()))
        ratios = ((a - k) * (n - k)) / ((k + 1) * (b - n + k + 1)) * odds[which, None]
        values = None if known is None else known[which] - low[:, 0]
        if pair:
            symbols = stream.symbols(values, len(which), _bernoulli, (ratios / (1 + ratios))[:, 0])
        else:
            table = _from_ratios(np.where(k < most[which, None], ratios, 0.0))
            symbols = stream.symbols(values, len(which), _categorical, table)
        found[which] = low[:, 0] + symbols
    return found
