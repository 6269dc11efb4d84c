"""Which differences are kept: those whose loss would matter most, for each bit that they cost."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import log2

import numpy as np
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
        counts: how many entries exceed it.
        gains: the sum of their importance.
        bits: of their positions and signs.
    """

    thresholds: NDArray[np.float64]
    counts: NDArray[np.float64]
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
        return cls(thresholds, counts * each, gains, _bits(counts * each, len(flat)))

    def best(self, price: float, counted: bool) -> int:
        """Return the candidate with the largest gain less its price, by bits or by the number of entries."""
        return int(np.argmax(self.gains - price * self.costs(counted)))

    def costs(self, counted: bool) -> NDArray[np.float64]:
        """Return the bits of each candidate, or its number of entries."""
        return self.counts if counted else self.bits


def thresholds_for(curves: Mapping[str, Curve], budget: float, counted: bool = False) -> dict[str, float]:
    """Return the importance that an entry of each parameter must exceed to be kept.

    The kept entries have the largest total importance within the budget. At the optimum, the last bit is worth the same
    in every parameter.

    Args:
        curves: of each parameter.
        budget: bits for positions and signs; or the number of entries.
        counted: whether the budget is a number of entries.

    Example:
        >>> import torch
        >>> curve = Curve.of(torch.tensor([1.0, 2.0, 3.0, 4.0]), "weight")
        >>> thresholds_for({"weight": curve}, budget=2, counted=True)
        {'weight': 2.5}
    """

    def spent(price: float) -> float:
        return sum(float(curve.costs(counted)[curve.best(price, counted)]) for curve in curves.values())

    low, high = -100.0, 20.0  # the logarithm of the price, to the base of 2
    scale = max((float(curve.gains[-1]) for curve in curves.values()), default=0.0) or 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if spent(scale * 2.0**middle) > budget else (low, middle)
    left, found = 0.0 if counted else budget - spent(scale * 2.0**high), dict[str, float]()
    for name, curve in curves.items():
        # All signs of a matrix cost less than the positions and signs of two thirds of them. So one price can leave
        # a part of the budget, which a better candidate of a single matrix may use.
        costs, chosen = curve.costs(counted), curve.best(scale * 2.0**high, counted)
        affordable = np.where(costs <= costs[chosen] + left, curve.gains, -np.inf)
        best = int(np.argmax(affordable))
        left -= costs[best] - costs[chosen]
        found[name] = float(curve.thresholds[best])
    return found


def _bits(counts: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    share = np.clip(counts / size, 1e-300, 1.0)
    other = np.clip(1.0 - counts / size, 1e-300, 1.0)
    return -(counts * np.log2(share) + (size - counts) * np.log2(other)) + counts + (counts > 0) * log2(size)
