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

    Of layers within each other only the outermost is recorded. The call ends early: at the first of the given layers,
    or where an output has a NaN or is something else than tensors and containers of tensors.

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
    stops, records, within = set(stops), dict[nn.Module, list[Any]](), list[nn.Module]()

    def stop(layer: nn.Module, args: Any) -> None:
        raise _ReachedError

    def enter(layer: nn.Module, args: Any) -> None:
        within.append(layer)

    def record(layer: nn.Module, args: Any, output: Any) -> None:
        within.pop()
        if within:
            return
        leaves = _pytree.tree_leaves(output)
        if not all(isinstance(leaf, _KNOWN) for leaf in leaves) or any(map(_has_nan, leaves)):
            raise _ReachedError
        records.setdefault(layer, []).append(_copied(output))

    handles = [layer.register_forward_pre_hook(stop) for layer in stops]
    for layer in module.modules():
        if stops.isdisjoint(layer.modules()):
            handles += [layer.register_forward_pre_hook(enter), layer.register_forward_hook(record)]
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


def _has_nan(value: object) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point() and bool(value.isnan().any())


def _copied(output: Any) -> Any:
    """Return an output whose tensors are copies: whoever gets it may change them in place."""

    def copied(leaf: Any) -> Any:
        return leaf.clone() if isinstance(leaf, Tensor) else leaf

    return _pytree.tree_map(copied, output)
