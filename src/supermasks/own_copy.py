"""A copy of the user's module that nothing else holds on to, whose tensors can be written to."""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize, prune, remove_spectral_norm, remove_weight_norm
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from supermasks.errors import UnsupportedModuleError


def own_copy(module: nn.Module) -> nn.Module:
    """Return a copy of a module in float32, each tensor in memory of its own.

    Tensors that were computed, such as a cached activation, are copied as values. Gradients in embeddings are dense, as
    the optimisers of torch want them.

    Args:
        module: stays as it is.

    Raises:
        UnsupportedModuleError: an attribute of a layer cannot be copied.
    """
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


def settle_weights(module: nn.Module) -> frozenset[str]:
    """Turn weights that a module computes from other tensors into plain parameters, and return their names.

    These are the tensors of `torch.nn.utils.parametrize` and of pruning, and those of the older `weight_norm` and
    `spectral_norm`. What they are computed from is fixed, so that the values are, too.

    Args:
        module: in evaluation mode; it is changed.
    """
    names = set[str]()
    for path, layer in list(module.named_modules()):
        for short in _settle(layer):
            names.add(f"{path}.{short}" if path else short)
    return frozenset(names)


def settled_names(module: nn.Module) -> frozenset[str]:
    """Return the names that the parameters have once `settle_weights` was called; the module stays as it is."""
    names = {name for name, _ in module.named_parameters(remove_duplicate=False)}
    for path, layer in module.named_modules():
        computed = list(_hooks(layer))
        if parametrize.is_parametrized(layer):
            computed += vars(layer)["_modules"]["parametrizations"]
        names |= {f"{path}.{short}" if path else short for short in computed}
    return frozenset(names)


def _settle(layer: nn.Module) -> list[str]:
    settled = _without_parametrizations(layer) if parametrize.is_parametrized(layer) else list[str]()
    for name, remove in _hooks(layer).items():
        remove(layer, name)
        settled.append(name)
    return settled


def _hooks(layer: nn.Module) -> dict[str, Callable[[nn.Module, str], object]]:
    """Return the tensors that hooks compute before each call, and what puts an end to each."""
    found: dict[str, Callable[[nn.Module, str], object]] = {}
    for hook in layer._forward_pre_hooks.values():  # pyright: ignore[reportPrivateUsage]
        if isinstance(hook, prune.BasePruningMethod):
            found[hook._tensor_name] = prune.remove  # pyright: ignore[reportPrivateUsage]
        elif isinstance(hook, WeightNorm):
            found[hook.name] = remove_weight_norm
        elif isinstance(hook, SpectralNorm):
            found[hook.name] = remove_spectral_norm
    return found


def detach_computed(module: nn.Module) -> None:
    """Cut the tensors that the layers keep from a forward pass off its graph; a graph is neither copied nor sent."""
    for layer in module.modules():
        for name, value in vars(layer).items():
            if isinstance(value, Tensor) and not value.is_leaf:
                vars(layer)[name] = value.detach()


def _without_parametrizations(layer: nn.Module) -> list[str]:
    # Not by `remove_parametrizations`: it takes the weight out of the class, which the user's own layer is of, too.
    modules: dict[str, Any] = vars(layer)["_modules"]
    values = {name: getattr(layer, name).detach().clone() for name in modules["parametrizations"]}
    trained = {
        name: any(True for _ in of.parameters(recurse=False)) for name, of in modules["parametrizations"].items()
    }
    del modules["parametrizations"]
    layer.__class__ = type(layer).__bases__[0]
    for name, value in values.items():
        if trained[name]:
            layer.register_parameter(name, nn.Parameter(value))
        else:
            layer.register_buffer(name, value)
    return list(values)


def check_module(module: nn.Module) -> None:
    """Raise UnsupportedModuleError if a module is scripted, or has tensors without data, or not dense, or not real."""
    if isinstance(module, torch.jit.ScriptModule):
        raise UnsupportedModuleError(
            "the network is a module of TorchScript, whose weights cannot be exchanged; pass the module that it was "
            "scripted or traced from"
        )
    for name, value in (*module.named_parameters(), *module.named_buffers()):
        if isinstance(value, (nn.parameter.UninitializedParameter, nn.parameter.UninitializedBuffer)):
            raise UnsupportedModuleError(
                f"parameter {name!r} has no shape yet; pass one batch through the network first"
            )
        if value.is_complex():
            raise UnsupportedModuleError(
                f"{name!r} is {value.dtype}, but a network computes with real numbers; hold the real and the imaginary "
                "parts in two tensors (torch.view_as_real)"
            )
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
