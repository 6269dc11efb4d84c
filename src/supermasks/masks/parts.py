"""The entries of a mask in parts, each coded with one probability."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from supermasks.masks.clustered import Choice
from supermasks.masks.mask import Mask
from supermasks.types import Shapes

Entries = NDArray[np.bool_]
Classes = Mapping[str, NDArray[np.uint8]]
"""The class of each entry of a parameter, flat."""


@dataclass(frozen=True)
class Part:
    """Entries of a parameter that are coded with one probability.

    Attributes:
        name: of the parameter.
        size: the number of entries.
        kind: the class of the entries; 0 if there are no classes.
        choice: how its rows and columns are coded; None if it has one probability.
    """

    name: str
    size: int
    kind: int
    choice: Choice | None = None


def kept_by(reference: Mask) -> Classes:
    """Return the classes of entries beside a reference: 1 if it keeps them, otherwise 0."""
    return {name: reference[name].flatten().numpy().view(np.uint8) for name in reference}


def with_kept(levels: Classes, reference: Mask) -> Classes:
    """Return the classes of entries by level and reference: twice the level, and 1 if the reference keeps them."""
    kept = kept_by(reference)
    return {name: 2 * of + kept[name] for name, of in levels.items()}


def parts_of(shapes: Shapes, classes: Classes | None, kinds: int) -> Iterator[Part]:
    """Return the parts: each parameter, or each class of entries of it; classes are the numbers below `kinds`."""
    for name, shape in shapes.items():
        if classes is None:
            yield Part(name, prod(shape), 0)
        else:
            for kind, size in enumerate(np.bincount(classes[name], minlength=kinds).tolist()):
                yield Part(name, size, kind)


def grouped(entries: Entries, classes: NDArray[np.uint8], kinds: int) -> Entries:
    """Return the entries of a parameter, class by class."""
    if kinds <= 2:  # as fast as to sort, in an eighth of the memory
        return np.concatenate([entries[classes == kind] for kind in range(kinds)])
    return entries[np.argsort(classes, kind="stable")]


def ungrouped(entries: Entries, classes: NDArray[np.uint8], kinds: int) -> Entries:
    """Return entries that `grouped` has returned, as they were before."""
    found = np.empty_like(entries)
    if kinds > 2:
        found[np.argsort(classes, kind="stable")] = entries
        return found
    ends = np.cumsum(np.bincount(classes, minlength=kinds))
    for kind, part in zip(range(kinds), np.split(entries, ends[:-1]), strict=True):
        found[classes == kind] = part
    return found


def by_kind(parts: list[Part], numbers: list[int], kinds: int) -> list[int]:
    """Return the sum of a number of each part, for each kind."""
    totals = [0] * kinds
    for part, number in zip(parts, numbers, strict=True):
        totals[part.kind] += number
    return totals


def expected_counts(parts: list[Part], totals: list[int]) -> Iterator[int]:
    """Return how many entries each part keeps if all parts of a kind are equally dense."""
    sizes = by_kind(parts, [part.size for part in parts], len(totals))
    for part in parts:
        yield (2 * totals[part.kind] * part.size + sizes[part.kind]) // (2 * sizes[part.kind]) if part.size else 0
