"""Checks of what goes into a network and of what comes out: batches of inputs, batches of logits."""

from typing import Any

import torch
from torch import Tensor

from supermasks.errors import InputError
from supermasks.types import check_dense


def check_inputs(inputs: Tensor, shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> None:
    """Raise InputError unless `inputs` is a non-empty batch of finite inputs of this shape and type.

    Args:
        inputs: `batch x ...`.
        shape: of one input.
        dtype: float32, or int64 for token ids.
    """
    if not isinstance(inputs, Tensor):
        raise InputError(f"inputs must be a torch tensor, got {type(inputs).__name__}; use torch.as_tensor(x)")
    check_dense(inputs, "inputs")
    if inputs.dtype != dtype:
        advice = (
            "scale them as the training data were, and use x.float()"
            if dtype == torch.float32
            else "the task was learned from token ids; use x.long()"
        )
        raise InputError(f"inputs must be {str(dtype).removeprefix('torch.')}, got {inputs.dtype}; {advice}")
    if tuple(inputs.shape[1:]) != shape or inputs.dim() == 0:
        raise InputError(
            f"inputs must be a batch of shape (batch, {', '.join(map(str, shape))}), got {tuple(inputs.shape)}"
            + ("; add the batch dimension with x[None]" if tuple(inputs.shape) == shape else "")
        )
    if len(inputs) == 0:
        raise InputError("inputs must hold at least one example, got an empty batch")
    # A sum is finite only if all terms are. It may overflow: then each term is checked.
    if not bool(torch.isfinite(inputs.sum())) and not bool(torch.isfinite(inputs).all()):
        raise InputError("inputs must be finite, got NaN or infinity among them; clean the data first")


def checked_logits(logits: Any, inputs: Tensor, training: bool = False) -> Tensor:
    """Return logits as float32; raise InputError unless they are floating-point numbers, one row for each input."""
    if isinstance(logits, Tensor) and logits.dim() == 2 and len(logits) == len(inputs) and logits.is_floating_point():
        return logits.float()
    if not isinstance(logits, Tensor):
        got = f"a {type(logits).__name__}"
        wrapper = "supermasks.nets.HuggingFaceClassifier(model)"
        advice = f"wrap a model of transformers in {wrapper}" if hasattr(logits, "logits") else "return one tensor"
    else:
        got = f"{logits.dtype} of shape {tuple(logits.shape)}"
        advice = "one row for each input, also for one input alone: squeeze() without a dimension drops that row"
    raise InputError(
        f"the network must return floating-point logits, batch x outputs, got {got} for a batch of {len(inputs)}"
        f"{' in training mode' if training else ''}; {advice}"
    )
