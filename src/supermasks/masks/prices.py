"""What the dropped weights of a mask cost in bits, differentiable."""

from collections.abc import Mapping
from math import e, log2

import torch
from torch import Tensor

from supermasks.types import Shape


def dropped_bits(masks: Mapping[str, Tensor]) -> Tensor:
    """Return about how many bits a code by rows and columns takes for the dropped weights, differentiable in the masks.

    Each layer is a matrix with `K` dropped weights, `a_i` of them in row `i` and `b_j` in column `j`. A Poisson code
    whose rate at `(i, j)` is `a_i b_j / K` takes

        sum over layers of   K log2(e K) - sum_i a_i log2 a_i - sum_j b_j log2 b_j

    bits, so one more dropped weight costs `-log2(a_i b_j / K)` bits: less in rows and columns with many. Here each
    logarithm is of the number plus 1/2, so that the first of a row has a price, too.

    Args:
        masks: 0. and 1., in the shape of each parameter: `out x in`, or `out x in x kernel ...`.

    Example:
        >>> mask = torch.ones(100, 100)
        >>> mask[3, :] = 0
        >>> scattered = torch.ones(100, 100)
        >>> scattered.fill_diagonal_(0).shape
        torch.Size([100, 100])
        >>> dropped_bits({"w": mask}) < dropped_bits({"w": scattered})
        tensor(True)
    """
    totals = [_layer_bits(1 - mask.reshape(*_matrix(tuple(mask.shape)))) for mask in masks.values()]
    return torch.stack(totals).sum()


def _layer_bits(dropped: Tensor) -> Tensor:
    rows, columns = dropped.sum(dim=1), dropped.sum(dim=0)
    total = rows.sum()
    return total * ((total + 0.5).log2() + log2(e)) - sum(
        (ones * (ones + 0.5).log2()).sum() for ones in (rows, columns)
    )


def _matrix(shape: Shape) -> tuple[int, int]:
    return (shape[0] if shape else 1), -1
