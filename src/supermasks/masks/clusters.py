"""Which code suits the ones of a parameter: one probability, or its rows and columns."""

from math import lgamma, log, log2

import numpy as np
from numpy.typing import NDArray

from supermasks.masks.clustered import SPARSE, STRENGTHS, Bits, Choice
from supermasks.types import Shape

Counts = NDArray[np.int64]

LEAST = 64.0  # bits that rows and columns must save by estimate, so that they are tried


def as_matrix(bits: Bits, shape: Shape) -> Bits:
    """Return the entries of a parameter as rows and columns: its first dimension, and all others."""
    return bits.reshape(shape[0] if shape else 1, -1)


def best_choice(bits: Bits, shape: Shape) -> Choice | None:
    """Return how to code a parameter by its rows and columns; None if one probability takes no more bits.

    Bits are estimated: those of the number of ones of each line, at their entropy, and `log2 C(n, b)` for each line of
    `n` places with `b` ones, less what the numbers of ones of the places tell.

    Args:
        bits: the entries of the parameter, flat.
        shape: of the parameter.
    """
    count = int(bits.sum())
    if not 0 < count < bits.size:
        return None
    ones = as_matrix(bits, shape) ^ (2 * count > bits.size)
    count = min(count, bits.size - count)
    if min(ones.shape) < 2:
        return None
    numbers = ones.sum(axis=1, dtype=np.int64), ones.sum(axis=0, dtype=np.int64)
    found = [(_bits(*numbers[::order]), order) for order in (1, -1) if _fits(*numbers[::order])]
    if not found or min(found)[0] + LEAST > _log_choose(bits.size, count):
        return None
    lines, places = numbers[:: min(found)[1]]
    return Choice(
        columns=min(found)[1] < 0,
        places=int(_polya(places).argmin()),
        lines=int(_polya(lines).argmin()),
        most=int(lines.max()),
    )


def _fits(lines: Counts, places: Counts) -> bool:
    """Return whether the lines are sparse enough, but for those that have ones only."""
    return SPARSE * int(lines[lines < len(places)].sum()) <= len(lines) * len(places)


def _bits(lines: Counts, places: Counts) -> float:
    often = np.bincount(lines)
    entropy = len(lines) * log2(len(lines)) - float((often * np.log2(np.maximum(often, 1))).sum())
    (factorials,) = _rising(len(places), (1.0,))
    each = len(lines) * factorials[-1] - float((factorials[lines] + factorials[len(places) - lines]).sum())
    told = int(lines.sum()) * log2(len(places)) - float(_polya(places).min())
    return entropy + each - max(told, 0.0)


def _polya(counts: Counts) -> NDArray[np.float64]:
    """Return the bits of ones drawn one by one, each at a place with weight `ones there + strength`, by strength."""
    total = np.array([lgamma(len(counts) * s + int(counts.sum())) - lgamma(len(counts) * s) for s in STRENGTHS])
    return total / log(2) - _rising(int(counts.max()), STRENGTHS)[:, counts].sum(axis=1)


def _rising(most: int, strengths: tuple[float, ...]) -> NDArray[np.float64]:
    """Return `log2 (s (s + 1) ... (s + b - 1))` for each strength `s`, and `b` from 0 to `most`."""
    factors = np.log2(np.arange(most) + np.array(strengths)[:, None])
    return np.concatenate([np.zeros((len(strengths), 1)), np.cumsum(factors, axis=1)], axis=1)


def _log_choose(n: int, k: int) -> float:
    return (lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1)) / log(2)
