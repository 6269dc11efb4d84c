"""Tensors by name as the content of a safetensors file."""

from collections.abc import Mapping

import torch
from safetensors.torch import save
from torch import Tensor

from supermasks.errors import TaskError

# Nearly all tensors have these types. For others, storing is tried.
_USUAL = (torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.uint8, torch.bool)


def encode_tensors(tensors: Mapping[str, Tensor], kind: str) -> bytes:
    """Return the content of a file that holds tensors.

    Args:
        tensors: by name.
        kind: what they are, in errors.

    Raises:
        TaskError: one of them cannot be stored.
    """
    check_tensors(tensors, kind)
    return as_bytes(tensors)


def as_bytes(tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> bytes:
    """Return the content of a file that holds tensors which `check_tensors` has accepted."""
    # Copies: the format refuses tensors that share memory.
    copies = {n: v.detach().cpu().clone(memory_format=torch.contiguous_format) for n, v in tensors.items()}
    return save(copies, metadata)


def check_tensors(tensors: Mapping[str, Tensor], kind: str, task: str = "") -> None:
    """Raise TaskError for the first tensor that a file cannot hold because of its name, type or layout.

    Args:
        tensors: by name.
        kind: what they are, in errors.
        task: the name of their task, if they have one.
    """
    for name, value in tensors.items():
        what = f"{kind} {name!r}{f' of task {task!r}' if task else ''} cannot be stored"
        if not isinstance(name, str) or not encodable(name):
            raise TaskError(f"{what}: its name must be a string that UTF-8 can encode; choose another name")
        if not isinstance(value, Tensor):
            raise TaskError(f"{what}: expected a tensor, got {type(value).__name__}")
        if value.layout != torch.strided or value.is_quantized or value.is_meta or not _has_type(value.dtype):
            raise TaskError(
                f"{what}: expected a dense tensor of a type that safetensors has, got {value.dtype} of layout "
                f"{value.layout} on {value.device}; convert it first"
            )


def encodable(name: str) -> bool:
    """Return whether UTF-8 can encode a name."""
    return not any("\ud800" <= character <= "\udfff" for character in name)


def _has_type(dtype: torch.dtype) -> bool:
    if dtype in _USUAL:
        return True
    try:
        save({"": torch.empty(0, dtype=dtype)})
    except (KeyError, RuntimeError, ValueError, TypeError):
        return False
    return True
