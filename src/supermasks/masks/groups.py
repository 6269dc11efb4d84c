"""Weights that a mask keeps or drops together."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from math import prod

from torch import Tensor
from torch.nn import functional

from supermasks.errors import ConfigError
from supermasks.spec import Settings
from supermasks.types import Shape


class Groups(Settings, ABC):
    """Divides the weights of a parameter into blocks, each with one bit.

    A parameter is a matrix, `out x in`. A convolution has `out x in x kernel ...`; all weights of its kernel for one
    output and one input are in the same block. A parameter with one dimension is a matrix with one column.
    """

    @abstractmethod
    def block(self, rows: int, columns: int) -> tuple[int, int]:
        """Return the rows and columns of a block, for a matrix of this shape. The last blocks may be smaller."""

    def count(self, shape: Shape) -> int:
        """Return the number of blocks of a parameter."""
        return prod(self._grid(shape)[:2])

    def means(self, scores: Tensor) -> Tensor:
        """Return the mean score of each block, `blocks down x blocks across`, differentiable.

        Args:
            scores: one score a weight, in the shape of the parameter.
        """
        down, across, high, wide = self._grid(tuple(scores.shape))
        matrix = scores.reshape(*_matrix(tuple(scores.shape)), -1).mean(dim=2)
        rows, columns = matrix.shape
        short = (0, across * wide - columns, 0, down * high - rows)
        sums = functional.pad(matrix, short).reshape(down, high, across, wide).sum(dim=(1, 3))
        ones = functional.pad(matrix.new_ones(rows, columns), short)
        return sums / ones.reshape(down, high, across, wide).sum(dim=(1, 3))

    def spread(self, values: Tensor, shape: Shape) -> Tensor:
        """Return the value of its block for each weight, in the shape of the parameter, differentiable.

        Args:
            values: one for each block, `blocks down x blocks across`.
            shape: of the parameter.
        """
        down, across, high, wide = self._grid(shape)
        rows, columns = _matrix(shape)
        matrix = values[:, None, :, None].expand(down, high, across, wide).reshape(down * high, across * wide)
        matrix = matrix[:rows, :columns]
        return matrix.reshape(*matrix.shape, *(1 for _ in shape[2:])).expand(shape) if len(shape) > 1 else matrix[:, 0]

    def _grid(self, shape: Shape) -> tuple[int, int, int, int]:
        rows, columns = _matrix(shape)
        high, wide = self.block(rows, columns)
        high, wide = min(high, rows), min(wide, columns)
        return -(-rows // high), -(-columns // wide), high, wide


@dataclass(frozen=True)
class Neurons(Groups):
    """All weights into one neuron; of a convolution, all weights of one output channel.

    A neuron is a row of the weight. In transposed convolutions and in `Conv1D` of transformers a row is an input, so
    take `Inputs` there.

    Example:
        >>> Neurons().count((10, 20)), Neurons().count((10, 20, 3, 3))
        (10, 10)
    """

    def block(self, rows: int, columns: int) -> tuple[int, int]:
        return 1, columns


@dataclass(frozen=True)
class Inputs(Groups):
    """All weights from one input of a layer; of a convolution, from one input channel.

    Example:
        >>> Inputs().count((10, 20)), Inputs().count((10, 20, 3, 3))
        (20, 20)
    """

    def block(self, rows: int, columns: int) -> tuple[int, int]:
        return rows, 1


@dataclass(frozen=True)
class Blocks(Groups):
    """Rectangles of weights.

    In the projections of attention to queries, keys and values, `Blocks(d)` has a block for each head of `d` neurons.
    In the projection of its output, `Blocks(columns=d)` has.

    Attributes:
        rows: of a block; None for all.
        columns: of a block; None for all.

    Raises:
        ConfigError: a number is below 1, or both are None.

    Example:
        >>> Blocks(32).count((384, 384)), Blocks(16, 16).count((384, 384))
        (12, 576)
    """

    rows: int | None = None
    columns: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        given = [size for size in (self.rows, self.columns) if size is not None]
        if not given or min(given) < 1:
            raise ConfigError(
                f"a block must have at least one row and one column, got rows={self.rows} and columns={self.columns}; "
                "None takes all, but not for both"
            )

    def block(self, rows: int, columns: int) -> tuple[int, int]:
        return rows if self.rows is None else self.rows, columns if self.columns is None else self.columns


def _matrix(shape: Shape) -> tuple[int, int]:
    return shape[0] if shape else 1, shape[1] if len(shape) > 1 else 1
