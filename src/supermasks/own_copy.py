"""An independent copy of the user's module."""

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
    """Return a copy of a module in float32; its tensors share no memory.

    Computed tensors, such as cached activations, are copied as values. Embeddings get dense gradients, which the
    optimisers of torch need.

    Args:
        module: not changed.

    Raises:
        UnsupportedModuleError: an attribute of a layer cannot be copied.

    Example:
        >>> own_copy(nn.Linear(2, 1).double()).weight.dtype
        torch.float32
    """
    memo = {id(value): value.detach().clone() for value in _tensors(module) if not value.is_leaf}
    try:
        copied = copy.deepcopy(module, memo)
    except Exception as error:  # attributes may raise anything
        raise UnsupportedModuleError(
            f"the network cannot be copied: {_culprit(module)} ({error}); keep it outside of the module, or define "
            "__deepcopy__ for it"
        ) from error
    copied = copied.float()
    for layer in copied.modules():
        if isinstance(layer, (nn.Embedding, nn.EmbeddingBag)):
            layer.sparse = False
    _separate(copied)
    return copied


def settle_weights(module: nn.Module) -> frozenset[str]:
    """Replace weights that a module computes from other tensors by plain parameters, and return their names.

    These are the tensors of `torch.nn.utils.parametrize`, of pruning, and of the older `weight_norm` and
    `spectral_norm`. The tensors behind them are fixed, so the values are fixed too.

    Args:
        module: in evaluation mode; changed in place.

    Example:
        >>> layer = torch.nn.utils.parametrizations.weight_norm(nn.Linear(2, 1)).eval()
        >>> sorted(settle_weights(layer)), isinstance(layer.weight, nn.Parameter)
        (['weight'], True)
    """
    names = set[str]()
    for path, layer in list(module.named_modules()):
        for short in _settle(layer):
            names.add(f"{path}.{short}" if path else short)
    return frozenset(names)


def settled_names(module: nn.Module) -> frozenset[str]:
    """Return the names of the parameters after `settle_weights`; the module is not changed."""
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
    """Return the tensors that hooks compute before each call, with the function that removes each hook."""
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
    """Detach the tensors that layers keep from a forward pass: their graph can be neither copied nor sent."""
    for layer in module.modules():
        for name, value in vars(layer).items():
            if isinstance(value, Tensor) and not value.is_leaf:
                vars(layer)[name] = value.detach()


def _without_parametrizations(layer: nn.Module) -> list[str]:
    # Not by `remove_parametrizations`: it changes the class, which the user's own layer shares.
    modules: dict[str, Any] = vars(layer)["_modules"]
    values = {name: getattr(layer, name).detach().clone() for name in modules["parametrizations"]}
    trained = {
        name: any(True for _ in each.parameters(recurse=False)) for name, each in modules["parametrizations"].items()
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
    """Raise UnsupportedModuleError for a module of TorchScript or DataParallel, or if a tensor cannot be masked.

    That is a tensor without data, and a sparse or complex one.
    """
    if isinstance(module, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
        raise UnsupportedModuleError(
            f"expected an ordinary module, got one within {type(module).__name__}; pass its .module"
        )
    if isinstance(module, torch.jit.ScriptModule):
        raise UnsupportedModuleError(
            "expected an ordinary module, got one of TorchScript, whose weights cannot be replaced; pass the module "
            "that was scripted or traced"
        )
    for name, value in (*module.named_parameters(), *module.named_buffers()):
        if isinstance(value, (nn.parameter.UninitializedParameter, nn.parameter.UninitializedBuffer)):
            raise UnsupportedModuleError(
                f"parameter {name!r} is not initialised yet; pass one batch through the network first"
            )
        if isinstance(value, nn.Parameter) and not value.numel():
            raise UnsupportedModuleError(
                f"parameter {name!r} has no entries: its shape is {tuple(value.shape)}; build the network without it"
            )
        if value.is_complex():
            raise UnsupportedModuleError(
                f"{name!r} must be real, got {value.dtype}; store the real and the imaginary part as real numbers "
                "(torch.view_as_real)"
            )
        if value.is_meta:
            raise UnsupportedModuleError(
                f"{name!r} has no data, since it is on the meta device; build the network on the CPU, or "
                'use module.to_empty(device="cpu") and load its weights'
            )
        if value.layout != torch.strided:
            raise UnsupportedModuleError(f"{name!r} must be a dense tensor, got {value.layout}; use value.to_dense()")


def _tensors(module: nn.Module) -> Iterator[Tensor]:
    for layer in module.modules():
        for value in vars(layer).values():
            yield from _in(value)


def _in(value: Any) -> Iterator[Tensor]:
    """Yield the tensors in a value and in Python containers, but not in sublayers."""
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
    """Describe the attribute that cannot be copied, for an error message."""
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
    """Give each parameter and buffer its own memory, without shared entries as after `expand`."""
    for parameter in module.parameters():
        parameter.data = parameter.data.clone()
    copies: dict[int, Tensor] = {}
    for layer in module.modules():
        for name, buffer in layer.named_buffers(recurse=False, remove_duplicate=False):
            layer._buffers[name] = copies.setdefault(id(buffer), buffer.detach().clone())  # pyright: ignore[reportPrivateUsage]
