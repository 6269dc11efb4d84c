"""Layers that answer rows of different tasks in one call: each group of rows with the parameters of its task."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from supermasks.anatomy import BATCH_NORM
from supermasks.calls import called_with, can_be_recorded
from supermasks.changes import Change, Masked
from supermasks.masks import checked_row_products, masked_weight
from supermasks.masks.rows import Packed

MixedLayer = Callable[[Tensor], Tensor]
"""From the inputs of a layer, `rows x ...`, to its outputs."""

Own = Mapping[str, Sequence[Change | Tensor]]
"""What the tasks of a batch do to a layer: for each parameter or buffer, by short name, a change or value a task."""


def mixed_layer(layer: nn.Module, own: Own, shared: Mapping[str, Tensor], counts: Sequence[int]) -> MixedLayer | None:
    """Return a function that calls a layer for rows of several tasks; None for other types of layers.

    Args:
        layer: linear, a convolution, an embedding, or batch normalisation.
        own: what each task does to the parameters and buffers that are not the same for all tasks.
        shared: the shared value of each parameter and buffer of the layer, by short name.
        counts: the number of rows of each task; the rows of a task follow each other.

    Example:
        >>> from supermasks.masks import Mask
        >>> layer = nn.Linear(1, 1, bias=False)
        >>> keep, drop = (Masked(Mask.pack({"w": torch.tensor([[bit]])}), "w") for bit in (True, False))
        >>> mixed = mixed_layer(layer, {"weight": [keep, drop]}, {"weight": torch.ones(1, 1)}, [1, 2])
        >>> mixed(torch.ones(3, 1)).flatten()
        tensor([1., 0., 0.])
    """
    if isinstance(layer, BATCH_NORM):
        return _normalising(layer, own, shared, counts)
    if not can_be_recorded(layer):
        return None
    if type(layer) is nn.Linear and {*map(type, own.get("weight", []))} == {Masked}:
        return _linear(own, shared, counts)
    return _group_by_group(layer, own, shared, counts)


def own_value(change: Change | Tensor, shared: Tensor) -> Tensor:
    """Return the value of a parameter or buffer for one task."""
    if isinstance(change, Tensor):
        return change.to(shared.device)
    if isinstance(change, Masked):
        return masked_weight(shared, change.bits)
    return change.applied(shared)


def _linear(own: Own, shared: Mapping[str, Tensor], counts: Sequence[int]) -> MixedLayer:
    masks = cast("Sequence[Packed]", own["weight"])  # of the shape of the weight: the network has checked the states
    biases = None
    if "bias" in own:
        each = torch.stack([own_value(change, shared["bias"]) for change in own["bias"]])
        biases = each.repeat_interleave(torch.tensor(counts, device=each.device), dim=0)

    def call(inputs: Tensor) -> Tensor:
        places = inputs[0, ..., 0].numel()
        rows = inputs.reshape(-1, inputs.shape[-1])
        groups = counts if places == 1 else [count * places for count in counts]
        output = checked_row_products(rows, shared["weight"], masks, groups)
        output = output.view(*inputs.shape[:-1], -1)
        if biases is not None:
            return output.add_(biases.view(len(inputs), *[1] * (inputs.dim() - 2), -1))
        return output if shared.get("bias") is None else output.add_(shared["bias"])

    return call


def _group_by_group(layer: nn.Module, own: Own, shared: Mapping[str, Tensor], counts: Sequence[int]) -> MixedLayer:
    def call(inputs: Tensor) -> Tensor:
        parts = [
            called_with(layer, _of_task(own, shared, task), rows)
            for task, rows in enumerate(inputs.split(list(counts)))
        ]
        return torch.cat(parts)

    return call


def _normalising(layer: Any, own: Own, shared: Mapping[str, Tensor], counts: Sequence[int]) -> MixedLayer:
    def call(inputs: Tensor) -> Tensor:
        parts: list[Tensor] = []
        for task, rows in enumerate(inputs.split(list(counts))):
            values = _of_task(own, shared, task)
            mean, variance = values["running_mean"], values["running_var"]
            scale, shift = values.get("weight"), values.get("bias")
            parts.append(nn.functional.batch_norm(rows, mean, variance, scale, shift, False, 0.0, layer.eps))
        return torch.cat(parts)

    return call


def _of_task(own: Own, shared: Mapping[str, Tensor], task: int) -> dict[str, Tensor]:
    return {**shared, **{short: own_value(each[task], shared[short]) for short, each in own.items()}}
