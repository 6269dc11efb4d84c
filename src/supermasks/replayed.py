"""Layers whose calls are known already: recorded in one pass over a module, and repeated in the next."""

from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree

Forward = Callable[..., Any]
"""In the place of the `forward` of a layer."""

_PLAIN = (bool, int, float, str, type(None))


@dataclass(frozen=True, eq=False)
class Recorded:
    """One call of a layer.

    Attributes:
        output: what it returned; `_Argument(n)` stands for its n-th argument itself.
        written: the new values of the arguments that it changed in place, by their number.
    """

    output: Any
    written: Mapping[int, Tensor]

    def repeated(self, arguments: list[Any]) -> Any:
        """Change the arguments as the call did, and return its output."""
        for number, value in self.written.items():
            arguments[number].copy_(value)

        def put(leaf: Any) -> Any:
            if isinstance(leaf, _Argument):
                return arguments[leaf.number]
            return leaf.clone() if isinstance(leaf, Tensor) else leaf  # whoever gets it may change it in place

        return _pytree.tree_map(put, self.output)


@dataclass(frozen=True)
class _Argument:
    number: int


Records = Mapping[nn.Module, list[Recorded]]
"""The calls of some layers, in their order."""


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
    """Let layers repeat their recorded calls, one by one. Later calls than those recorded are computed.

    Example:
        >>> import torch
        >>> layer = nn.Linear(1, 1)
        >>> with replayed({layer: [Recorded(torch.zeros(1, 1), {})]}):
        ...     layer(torch.ones(1, 1))
        tensor([[0.]])
    """
    if not records:
        yield
        return

    def replaying(layer: nn.Module, calls: list[Recorded]) -> Forward:
        usual, rest = layer.forward, iter(calls)

        def call(*args: Any, **kwargs: Any) -> Any:
            for known in rest:
                return known.repeated(_pytree.tree_leaves((args, kwargs)))
            return usual(*args, **kwargs)

        return call

    with forwards({layer: replaying(layer, calls) for layer, calls in records.items()}):
        yield


def recorded_trunk(module: nn.Module, stops: Iterable[nn.Module], call: Callable[[], object]) -> Records:
    """Return the calls of layers that are called before the first of some layers, and hold none of these.

    Of layers within each other only the outermost is recorded. A layer that returns a view of an argument, as
    `nn.Flatten` does, is not recorded: a later change of one is a change of the other. The call ends early: at the
    first of the given layers, or where an output has a NaN or is something else than tensors and containers of tensors.
    Nested and sparse tensors are something else: torch cannot look for a NaN in all of them.

    Args:
        module: whose layers are meant.
        stops: layers that differ from task to task. Their parameters should be NaN during the call, since a parent
            may use them without calling the layer.
        call: calls the module, with tensors that count their changes (outside of `torch.inference_mode`).

    Example:
        >>> import torch
        >>> module = nn.Sequential(nn.Linear(1, 1), nn.ReLU(), nn.Linear(1, 1))
        >>> records = recorded_trunk(module, [module[2]], lambda: module(torch.ones(1, 1)))
        >>> [type(layer).__name__ for layer in records]
        ['Linear', 'ReLU']
    """
    stops, records, within = set(stops), dict[nn.Module, list[Recorded]](), list[_Entered]()

    def stop(layer: nn.Module, args: Any) -> None:
        raise _ReachedError

    def enter(layer: nn.Module, args: Any, kwargs: Any) -> None:
        within.append(_Entered.with_arguments(args, kwargs))

    def record(layer: nn.Module, args: Any, output: Any) -> None:
        entered = within.pop()
        if within:
            return
        leaves, written = _pytree.tree_leaves(output), entered.written()
        values = [*leaves, *written.values()]
        if not all(map(_is_known, values)) or any(map(_has_nan, values)):
            raise _ReachedError
        if not any(map(entered.is_viewed, leaves)):
            copies = _pytree.tree_map(entered.copied, output)
            records.setdefault(layer, []).append(Recorded(copies, written))

    handles = [layer.register_forward_pre_hook(stop) for layer in stops]
    for layer in module.modules():
        if stops.isdisjoint(layer.modules()):
            handles.append(layer.register_forward_pre_hook(enter, with_kwargs=True))
            handles.append(layer.register_forward_hook(record))
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


@dataclass(frozen=True, eq=False)
class _Entered:
    """A layer that is called now: its arguments, and how often each tensor among them was changed before."""

    arguments: list[Any]
    versions: list[int]

    @classmethod
    def with_arguments(cls, args: Any, kwargs: Any) -> "_Entered":
        leaves = _pytree.tree_leaves((args, kwargs))
        return cls(leaves, [leaf._version if isinstance(leaf, Tensor) else 0 for leaf in leaves])

    def written(self) -> dict[int, Tensor]:
        """Return copies of the tensors that were changed since."""
        tensors = {n: leaf for n, leaf in enumerate(self.arguments) if isinstance(leaf, Tensor)}
        return {n: leaf.clone() for n, leaf in tensors.items() if leaf._version != self.versions[n]}

    def is_viewed(self, output: Any) -> bool:
        """Return whether an output shares memory with an argument, but is none of the arguments."""
        memory = _memory(output)
        if memory is None or any(output is leaf for leaf in self.arguments):
            return False
        return any(_memory(leaf) == memory for leaf in self.arguments)

    def copied(self, output: Any) -> Any:
        """Return a copy of an output, or the number of the argument that it is."""
        if not isinstance(output, Tensor):
            return output
        numbers = [n for n, leaf in enumerate(self.arguments) if output is leaf]
        return _Argument(numbers[0]) if numbers else output.clone()


def _memory(value: object) -> int | None:
    return value.untyped_storage().data_ptr() if isinstance(value, Tensor) and value.layout == torch.strided else None


def _is_known(value: object) -> bool:
    if isinstance(value, Tensor):
        return value.layout == torch.strided and not value.is_nested
    return isinstance(value, _PLAIN)


def _has_nan(value: object) -> bool:
    if isinstance(value, Tensor) and (value.is_floating_point() or value.is_complex()):
        return bool(value.isnan().any())
    return False
