"""A shortlist of tasks, from a few of the weights: those whose gradients are largest."""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from supermasks.superposition import Superposition

LOOKED_AT = 4096
"""How many weights decide who is on the list."""

LISTED = 8
"""How many tasks are on the list."""

SAMPLED = 16

INDEXED_WEIGHTS = 2**16
"""How many weights at least, from the first layer on, can be looked at: there masks differ most between inputs."""


class Shortlist:
    """Finds the tasks that are worth an exact comparison.

    Of the first layers, the 4,096 weights of largest `|dL/dE * W|` are looked up in all tasks, and the 8 tasks
    with the largest sums are listed. Permuted or otherwise transformed inputs are told apart by the first layer more
    surely than by all layers.

    Args:
        superposition: the tasks; their masks are turned round once, which takes the memory of those of the first layers
            again.
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
        """The bytes that the turned masks take."""
        return sum(index.nbytes for of_layer in self._indices for _, index in of_layer)

    def candidates(self, gradients: Mapping[str, Tensor]) -> Iterator[list[int]]:
        """Yield the listed tasks of each loss, in the order of learning.

        Args:
            gradients: `dL_b/dE` of `names`, `rows x ...`; those that are not there count as 0.
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
            # What is no number is not sorted away: the exact comparison reports it.
            yield sums.nan_to_num(torch.inf).topk(min(LISTED, len(sums))).indices.sort().values.tolist()


def _largest(row: Tensor) -> Tensor:
    """Return the indices of the 4,096 entries of largest magnitude; all if there are not more."""
    if len(row) <= LOOKED_AT:
        return torch.arange(len(row), device=row.device)
    # Only among those that are larger than twice the right share of every 16th entry: ten times faster than among all.
    magnitude = row.abs()
    some = magnitude[::SAMPLED]
    least = some.topk(max(1, min(len(some), 2 * len(some) * LOOKED_AT // len(row))), sorted=False).values.amin()
    found = (magnitude >= least).nonzero().flatten()
    if len(found) < LOOKED_AT:
        return magnitude.topk(LOOKED_AT, sorted=False).indices
    return found[magnitude[found].topk(LOOKED_AT, sorted=False).indices]
