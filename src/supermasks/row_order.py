"""Whether a module looks up rows of a batch by an index, so that they may change places."""

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

_aten: Any = torch.ops.aten

_BY_TENSORS = (_aten.index, _aten.index_put, _aten.index_put_)
"""Operations with a list of indices, one for each dimension."""

_ALONG = {
    **dict.fromkeys(
        (
            *(_aten.index_select, _aten.gather, _aten.scatter, _aten.scatter_, _aten.scatter_add, _aten.scatter_add_),
            *(_aten.index_add, _aten.index_add_, _aten.index_copy, _aten.index_copy_, _aten.select, _aten.unbind),
        ),
        1,
    ),
    **dict.fromkeys((_aten.split, _aten.split_with_sizes), 2),
}
"""Operations that look up or take apart along one dimension, and which argument this is."""

_FLAT = (_aten.take, _aten.masked_select, _aten.masked_scatter, _aten.masked_scatter_)
"""Operations that look up entries in any dimension."""


class RowLookups(TorchDispatchMode):
    """Notices lookups of rows in floating-point tensors, while a batch of some number of inputs is computed.

    A network that sorts its inputs by length does so, for example. Whether its rows change places depends on their
    values, so the answers of one batch do not show it. A dimension of this length is taken for that of the rows.

    Args:
        rows: the number of inputs.

    Attributes:
        found: whether there was such a lookup.

    Example:
        >>> with RowLookups(3) as lookups:
        ...     _ = torch.ones(3, 2)[torch.tensor([0, 2, 1])]
        >>> lookups.found
        True
    """

    def __init__(self, rows: int) -> None:
        super().__init__()
        self.found, self._rows = False, rows

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Look at an operation, and do it."""
        if args and isinstance(args[0], Tensor) and args[0].is_floating_point():
            self.found = self.found or self._looks_up(func.overloadpacket, args)
        return func(*args, **(kwargs or {}))

    def _looks_up(self, operation: Any, args: Any) -> bool:
        shape, rows = args[0].shape, self._rows
        if operation in _BY_TENSORS:
            return any(index is not None and size == rows for index, size in zip(args[1], shape, strict=False))
        if operation in _ALONG:
            place = _ALONG[operation]
            dimension = args[place] if len(args) > place else 0
            return not shape or shape[dimension] == rows
        return operation in _FLAT
