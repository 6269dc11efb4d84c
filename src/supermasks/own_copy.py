"""A copy of the user's module that nothing else holds on to, whose tensors can be written to."""

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from supermasks.errors import UnsupportedModuleError


def own_copy(module: nn.Module) -> nn.Module:
    """Return a copy of a module in float32, each tensor in memory of its own.

    Tensors that were computed, such as a cached activation or the weight of a pruned layer, are copied as values.
    Gradients in embeddings are dense, as the optimisers of torch want them.

    Args:
        module: stays as it is.

    Raises:
        UnsupportedModuleError: the module is scripted, has tensors without data, or an attribute that cannot be copied.
    """
    _check(module)
    memo = {id(value): value.detach().clone() for value in _tensors(module) if not value.is_leaf}
    try:
        copied = copy.deepcopy(module, memo)
    except Exception as error:  # whatever the attributes of a module raise
        raise UnsupportedModuleError(
            f"the network cannot be copied: {_culprit(module)} ({error}); keep it outside of the module, or give the "
            "module a __deepcopy__ method"
        ) from error
    copied = copied.float()
    for layer in copied.modules():
        if isinstance(layer, (nn.Embedding, nn.EmbeddingBag)):
            layer.sparse = False
    _separate(copied)
    return copied


def detach_computed(module: nn.Module) -> None:
    """Cut the tensors that the layers keep from a forward pass off its graph; a graph is neither copied nor sent."""
    for layer in module.modules():
        for name, value in vars(layer).items():
            if isinstance(value, Tensor) and not value.is_leaf:
                vars(layer)[name] = value.detach()


def _check(module: nn.Module) -> None:
    if isinstance(module, torch.jit.ScriptModule):
        raise UnsupportedModuleError(
            "the network is a module of TorchScript, whose weights cannot be exchanged; pass the module that it was "
            "scripted or traced from"
        )
    for name, value in (*module.named_parameters(), *module.named_buffers()):
        if value.is_meta:
            raise UnsupportedModuleError(
                f"{name!r} is on the meta device, so that it has a shape but no data; build the network on the CPU, or "
                'use module.to_empty(device="cpu") and load its weights'
            )
        if value.layout != torch.strided:
            raise UnsupportedModuleError(f"{name!r} is stored as {value.layout}; use a dense tensor: value.to_dense()")


def _tensors(module: nn.Module) -> Iterator[Tensor]:
    for layer in module.modules():
        for value in vars(layer).values():
            yield from _in(value)


def _in(value: Any) -> Iterator[Tensor]:
    """Yield the tensors in a value, in containers of Python too; not those of layers below."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            if not isinstance(item, nn.Module):
                yield from _in(item)
    elif isinstance(value, (list, tuple, set)):
        for item in value:
            yield from _in(item)


def _culprit(module: nn.Module) -> str:
    """Return which attribute of which layer cannot be copied, for a message."""
    for path, layer in module.named_modules():
        for name, value in vars(layer).items():
            if name == "_modules":
                continue
            memo = {id(tensor): tensor.detach() for tensor in _in(value) if not tensor.is_leaf}
            try:
                copy.deepcopy(value, memo)
            except Exception:  # as above
                return (
                    f"its attribute {f'{path}.{name}' if path else name!r}, a {type(value).__name__}, does not allow it"
                )
    return "one of its layers does not allow it"


def _separate(module: nn.Module) -> None:
    """Give each parameter and buffer memory of its own, in which no entry stands for another, as after `expand`."""
    for parameter in module.parameters():
        parameter.data = parameter.data.clone()
    copies: dict[int, Tensor] = {}
    for layer in module.modules():
        for name, buffer in layer.named_buffers(recurse=False, remove_duplicate=False):
            layer._buffers[name] = copies.setdefault(id(buffer), buffer.detach().clone())  # pyright: ignore[reportPrivateUsage]
