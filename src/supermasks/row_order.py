"""Whether a module looks up rows of a batch by an index, so that they may change places."""

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

_aten: Any = torch.ops.aten

_BY_TENSORS = (_aten.index, _aten.index_put, _aten.index_put_)
"""Operations with a list of indices, one for each dimension."""

_BY_DIMENSION = (
    *(_aten.index_select, _aten.gather, _aten.scatter, _aten.scatter_, _aten.scatter_add, _aten.scatter_add_),
    *(_aten.index_add, _aten.index_add_, _aten.index_copy, _aten.index_copy_),
)
"""Operations with an index for one dimension, which is their second argument."""

_FLAT = (_aten.take, _aten.masked_select, _aten.masked_scatter, _aten.masked_scatter_)
"""Operations that look up entries in any dimension."""


class RowLookups(TorchDispatchMode):
    """Notices lookups in floating-point tensors along a dimension of length 1, while a batch of one input is computed.

    A network that sorts its inputs by length does so, for example. Whether its rows change places depends on their
    values, so the answers of one batch do not show it.

    Attributes:
        found: whether there was such a lookup.

    Example:
        >>> with RowLookups() as lookups:
        ...     _ = torch.ones(1, 2)[torch.tensor([0])]
        >>> lookups.found
        True
    """

    def __init__(self) -> None:
        super().__init__()
        self.found = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Look at an operation, and do it."""
        if args and isinstance(args[0], Tensor) and args[0].is_floating_point():
            self.found = self.found or _looks_up_rows(func.overloadpacket, args)
        return func(*args, **(kwargs or {}))


def _looks_up_rows(operation: Any, args: Any) -> bool:
    shape = args[0].shape
    if operation in _BY_TENSORS:
        return any(index is not None and size == 1 for index, size in zip(args[1], shape, strict=False))
    if operation in _BY_DIMENSION:
        return not shape or shape[args[1]] == 1
    return operation in _FLAT
