"""Layers whose outputs are known already: recorded in one pass over a module, and given back in the next."""

from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.utils import _pytree

Forward = Callable[..., Any]
"""In the place of the `forward` of a layer."""

Records = Mapping[nn.Module, list[Any]]
"""The outputs of each call of some layers, in the order of the calls."""

_KNOWN = (Tensor, bool, int, float, str, type(None))


@contextmanager
def forwards(replaced: Mapping[nn.Module, Forward]) -> Generator[None]:
    """Let layers call other functions in the place of their `forward`.

    Example:
        >>> import torch
        >>> layer = nn.Linear(1, 1)
        >>> with forwards({layer: lambda x: x + 1}):
        ...     layer(torch.ones(1, 1))
        tensor([[2.]])
    """
    before = {layer: vars(layer)["forward"] for layer in replaced if "forward" in vars(layer)}
    try:
        for layer, call in replaced.items():
            vars(layer)["forward"] = call
        yield
    finally:
        for layer in replaced:
            vars(layer).pop("forward", None)
            if layer in before:
                vars(layer)["forward"] = before[layer]


@contextmanager
def replayed(records: Records) -> Generator[None]:
    """Let layers return their recorded outputs, call by call. Later calls than those recorded are computed.

    Example:
        >>> import torch
        >>> layer = nn.Linear(1, 1)
        >>> with replayed({layer: [torch.zeros(1, 1)]}):
        ...     layer(torch.ones(1, 1))
        tensor([[0.]])
    """
    if not records:
        yield
        return

    def replaying(layer: nn.Module, outputs: list[Any]) -> Forward:
        usual, rest = layer.forward, iter(outputs)

        def call(*args: Any, **kwargs: Any) -> Any:
            for output in rest:
                return _copied(output)
            return usual(*args, **kwargs)

        return call

    with forwards({layer: replaying(layer, outputs) for layer, outputs in records.items()}):
        yield


def recorded_trunk(module: nn.Module, stops: Iterable[nn.Module], call: Callable[[], object]) -> Records:
    """Return the outputs of layers that are called before the first of some layers, and hold none of these.

    A layer is left out if its outputs are not tensors or containers of tensors. The call ends early: at the first of
    the layers, or where an output has a NaN.

    Args:
        module: whose layers are meant.
        stops: layers that differ from task to task. Their parameters should be NaN during the call, since a parent
            may use them without calling the layer.
        call: calls the module.

    Example:
        >>> import torch
        >>> module = nn.Sequential(nn.Flatten(), nn.Linear(1, 1), nn.ReLU())
        >>> records = recorded_trunk(module, [module[1]], lambda: module(torch.ones(1, 1)))
        >>> [type(layer).__name__ for layer in records]
        ['Flatten']
    """
    stops, records = set(stops), dict[nn.Module, list[Any]]()

    def stop(layer: nn.Module, args: Any) -> None:
        raise _ReachedError

    def record(layer: nn.Module, args: Any, output: Any) -> None:
        leaves = _pytree.tree_leaves(output)
        if any(isinstance(leaf, Tensor) and leaf.is_floating_point() and bool(leaf.isnan().any()) for leaf in leaves):
            raise _ReachedError
        if all(isinstance(leaf, _KNOWN) for leaf in leaves):
            records.setdefault(layer, []).append(_copied(output))

    handles = [layer.register_forward_pre_hook(stop) for layer in stops]
    handles += [layer.register_forward_hook(record) for layer in _free(module, stops)]
    try:
        call()
    except _ReachedError:
        pass
    finally:
        for handle in handles:
            handle.remove()
    return records


class _ReachedError(Exception):
    """The first layer that differs from task to task is called."""


def _free(module: nn.Module, stops: set[nn.Module]) -> list[nn.Module]:
    """Return the outermost layers that hold none of these, each once."""
    if not any(layer in stops for layer in module.modules()):
        return [module]
    found = [layer for child in module.children() for layer in _free(child, stops)] if module not in stops else []
    return list(dict.fromkeys(found))


def _copied(output: Any) -> Any:
    """Return an output whose tensors are copies: whoever gets it may change them in place."""

    def copied(leaf: Any) -> Any:
        return leaf.clone() if isinstance(leaf, Tensor) else leaf

    return _pytree.tree_map(copied, output)
