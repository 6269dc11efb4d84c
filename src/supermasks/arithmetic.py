"""The precision in which a network computes, independent of the surrounding program."""

from contextlib import AbstractContextManager, nullcontext

import torch


def computing_in(precision: torch.dtype, device: torch.device) -> AbstractContextManager[object]:
    """Return a context that computes products in a precision, also inside `torch.autocast`.

    Args:
        precision: float32; bfloat16 and float16 use autocast.
        device: of the computation.

    Example:
        >>> x = torch.ones(2, 2)
        >>> with torch.autocast("cpu", torch.bfloat16), computing_in(torch.float32, torch.device("cpu")):
        ...     (x @ x).dtype
        torch.float32
    """
    if precision != torch.float32:
        return torch.autocast(device.type, precision)
    if torch.is_autocast_enabled(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()
