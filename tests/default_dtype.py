"""Code around the library may have chosen another default type of torch."""

from collections.abc import Generator
from contextlib import contextmanager

import pytest
import torch

default_dtypes = pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)


@contextmanager
def default_dtype(dtype: torch.dtype) -> Generator[None]:
    """Make a type the default of torch inside the context."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
