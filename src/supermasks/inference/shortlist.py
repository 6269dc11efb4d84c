"""A shortlist of tasks, from the few weights with the largest gradients."""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from supermasks.superposition import Superposition

LOOKED_AT = 4096
"""How many weights decide which tasks are on the list."""

LISTED = 8
"""How many tasks are on the list."""

SAMPLED = 16

INDEXED_WEIGHTS = 2**16
"""How many weights to index, from the first layer on: inputs differ most there. Rounded up to whole layers."""


class Shortlist:
    """Finds the tasks that are worth an exact comparison.

    It takes the 4,096 weights of the first layers with the largest `|dL/dE * W|`, looks them up in all tasks, and lists
    the 8 tasks with the largest sums. The first layer distinguishes permuted or otherwise transformed inputs more
    reliably than all layers together.

    Args:
        superposition: the tasks. Their masks in the first layers are indexed once, which takes their memory again.
    """

    def __init__(self, superposition: Superposition) -> None:
        self.names = list[str]()
        total = 0
        for name, weight in superposition.network.weights.items():
            if total < INDEXED_WEIGHTS:
                self.names.append(name)
                total += weight.numel()
        self._count = len(superposition)
        self._weights = [superposition.network.weights[name].flatten() for name in self.names]
        self._indices = [
            [
                (torch.tensor(tasks), kind.index(superposition.network.weights[name], changes))
                for kind, tasks, changes in superposition.kinds(name)
            ]
            for name in self.names
        ]

    @property
    def nbytes(self) -> int:
        """The memory of the index, in bytes."""
        return sum(index.nbytes for of_layer in self._indices for _, index in of_layer)

    def candidates(self, gradients: Mapping[str, Tensor]) -> Iterator[list[int]]:
        """Yield the listed tasks for each loss, in the order of learning.

        Args:
            gradients: `dL_b/dE` of `names`, `rows x ...`; missing ones count as 0.
        """
        there = [number for number, name in enumerate(self.names) if name in gradients]
        weights, indices = [self._weights[n] for n in there], [self._indices[n] for n in there]
        sizes = [len(weight) for weight in weights]
        for rows in zip(*(gradients[self.names[n]].flatten(1) for n in there), strict=True):
            row = torch.cat([gradient * weight for gradient, weight in zip(rows, weights, strict=True)])
            largest, first = _largest(row), 0
            sums = torch.zeros(self._count, dtype=torch.float32)
            for of_layer, gradient, size in zip(indices, rows, sizes, strict=True):
                places = largest[(largest >= first) & (largest < first + size)] - first
                for tasks, index in of_layer if len(places) else ():
                    sums[tasks] -= index.products(places, gradient[places])
                first += size
            # NaN sorts first, so that the exact comparison reports it.
            yield _first_of_largest(sums.nan_to_num(torch.inf), LISTED)


def _first_of_largest(sums: Tensor, count: int) -> list[int]:
    """Return the tasks of the largest sums in the order of learning; among equals, those learned first."""
    # Several times faster than a stable sort of thousands.
    least = sums.topk(min(count, len(sums))).values[-1]
    above, equal = (found.nonzero().flatten().tolist() for found in (sums > least, sums == least))
    return sorted([*above, *equal[: count - len(above)]])


def _largest(row: Tensor) -> Tensor:
    """Return the indices of the 4,096 entries of largest magnitude; of all entries if there are fewer."""
    if len(row) <= LOOKED_AT:
        return torch.arange(len(row), device=row.device)
    # A threshold from every 16th entry leaves about twice as many as needed: ten times faster than sorting all.
    magnitude = row.abs()
    some = magnitude[::SAMPLED]
    least = some.topk(max(1, min(len(some), 2 * len(some) * LOOKED_AT // len(row))), sorted=False).values.amin()
    found = (magnitude >= least).nonzero().flatten()
    if len(found) < LOOKED_AT:
        return magnitude.topk(LOOKED_AT, sorted=False).indices
    return found[magnitude[found].topk(LOOKED_AT, sorted=False).indices]
