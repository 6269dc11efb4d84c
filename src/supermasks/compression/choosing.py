"""Which differences are kept: those whose loss would matter most, for each bit that they cost."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import log2

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from supermasks.seeding import generator

SAMPLED = 2**17
"""Entries of a parameter that decide its threshold; all are compared with it."""

CANDIDATES = 400
"""Counts that are tried for each parameter."""


@dataclass(frozen=True, eq=False)
class Curve:
    """What a parameter gains and costs if its most important entries are kept.

    Attributes:
        thresholds: the importance that an entry must exceed, for each candidate.
        gains: the sum of the importance of these entries.
        bits: of their positions and signs.
    """

    thresholds: NDArray[np.float64]
    gains: NDArray[np.float64]
    bits: NDArray[np.float64]

    @classmethod
    def of(cls, importance: Tensor, name: str) -> "Curve":
        """Return the curve of a parameter, estimated from a sample of its entries."""
        flat = importance.flatten().double().numpy()
        rows = generator(0, "compression", name).integers(len(flat), size=SAMPLED) if len(flat) > SAMPLED else ...
        ranked, each = np.sort(flat[rows])[::-1], len(flat) / min(len(flat), SAMPLED)
        ranked = ranked[ranked > 0]
        steps = np.unique(np.geomspace(1, max(len(ranked), 1), CANDIDATES).astype(int)) if len(ranked) else np.array([])
        counts = np.concatenate([[0], steps]).astype(int)
        # An entry must exceed its threshold; half-way to the next one, so that no rounding decides.
        below = np.append(ranked, 0.0)
        thresholds = np.where(counts > 0, (below[counts - 1] + below[counts]) / 2, np.inf)
        gains = np.concatenate([[0.0], np.cumsum(ranked)])[counts] * each
        return cls(thresholds, gains, _bits(counts * each, len(flat)))

    def best(self, price: float) -> int:
        """Return the candidate with the largest gain less its price."""
        return int(np.argmax(self.gains - price * self.bits))


def threshold_of_share(importance: Mapping[str, Tensor], share: float) -> float:
    """Return the importance that a share of all entries that are not 0 exceed, over all parameters.

    Example:
        >>> threshold_of_share({"a": torch.tensor([1.0, 4.0, 0.0]), "b": torch.tensor([3.0, 2.0])}, share=0.5)
        2.0
    """
    values = torch.cat([value.flatten() for value in importance.values()] or [torch.zeros(1, dtype=torch.float32)])
    kept = round(share * int(values.count_nonzero()))
    return float(values.kthvalue(len(values) - kept).values) if kept < len(values) else -1.0


def thresholds_for(curves: Mapping[str, Curve], budget: float) -> dict[str, float]:
    """Return the importance that an entry of each parameter must exceed to be kept.

    The kept entries have the largest total importance within the budget. At the optimum, the last bit is worth the same
    in every parameter.

    Args:
        curves: of each parameter.
        budget: bits for positions and signs.
    """

    def spent(price: float) -> float:
        return sum(float(curve.bits[curve.best(price)]) for curve in curves.values())

    low, high = -100.0, 20.0  # the logarithm of the price, to the base of 2
    scale = max((float(curve.gains[-1]) for curve in curves.values()), default=0.0) or 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if spent(scale * 2.0**middle) > budget else (low, middle)
    left, found = budget - spent(scale * 2.0**high), dict[str, float]()
    for name, curve in curves.items():
        # All signs of a matrix cost less than the positions and signs of two thirds of them. So one price can leave
        # a part of the budget, which a better candidate of a single matrix may use.
        chosen = curve.best(scale * 2.0**high)
        affordable = np.where(curve.bits <= curve.bits[chosen] + left, curve.gains, -np.inf)
        best = int(np.argmax(affordable))
        left -= float(curve.bits[best] - curve.bits[chosen])
        found[name] = float(curve.thresholds[best])
    return found


def _bits(counts: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    share = np.clip(counts / size, 1e-300, 1.0)
    other = np.clip(1.0 - counts / size, 1e-300, 1.0)
    return -(counts * np.log2(share) + (size - counts) * np.log2(other)) + counts + (counts > 0) * log2(size)
