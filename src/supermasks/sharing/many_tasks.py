"""Several tasks as one module, for a file that has the shared weights once and the bits of each mask."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from supermasks.changes import Change, Masked, Replaced, Unchanged
from supermasks.errors import UnsupportedModuleError
from supermasks.network import Network
from supermasks.state import TaskState

_OF_TASKS = (Masked, Replaced, Unchanged)
"""What a task may do to a parameter: keep some weights, have its own values, or use the shared ones."""


class ManyTasks(nn.Module):
    """A backbone and several tasks of it: `forward(inputs, task)` are the logits of the task with this number.

    The module has each shared weight `W` once. For each parameter that tasks mask, it has one bit for each weight and
    task. In a call the bits of one task become the mask `M`, and the backbone computes with `W * M` (SupSup, Equation
    1). A task's own values, such as a head or batch-norm statistics, are there for each task. Heads of different sizes
    are filled with zeros: a task uses only the outputs of its classes.

    Args:
        module: the backbone with the shared weights, in evaluation mode.
        masks: for each masked parameter, by name, the mask of each task, boolean.
        values: for each parameter or buffer that tasks have for themselves, by name, its values, `tasks x shape`.
    """

    def __init__(self, module: nn.Module, masks: Mapping[str, Iterable[Tensor]], values: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.module = module
        self.eval()
        self._masked = {name: f"mask_{number}" for number, name in enumerate(masks)}
        self._own = {name: f"value_{number}" for number, name in enumerate(values)}
        self.register_buffer("_powers", torch.tensor([[1 << bit] for bit in range(8)], dtype=torch.uint8))
        for name, key in self._masked.items():
            self.register_buffer(key, torch.stack([in_planes(mask) for mask in masks[name]]))
        for name, key in self._own.items():
            self.register_buffer(key, values[name])

    def forward(self, inputs: Tensor, task: Tensor) -> Tensor:
        """Return the logits of one task, `batch x outputs`.

        Args:
            inputs: `batch x ...`, as the backbone takes them.
            task: `1`, int64, the number of the task.
        """
        put = {name: self._masked_weight(name, key, task) for name, key in self._masked.items()}
        for name, key in self._own.items():
            values = self.get_buffer(key)
            put[name] = values.index_select(0, task).reshape(values.shape[1:])
        return functional_call(self.module, put, (inputs,))

    def _masked_weight(self, name: str, key: str, task: Tensor) -> Tensor:
        weight = self.module.get_parameter(name)
        bits = self.get_buffer(key).index_select(0, task) & self.get_buffer("_powers")
        return weight * bits.to(torch.bool).to(weight.dtype).flatten()[: weight.numel()].reshape(weight.shape)


def in_planes(mask: Tensor) -> Tensor:
    """Pack a mask so that it is unpacked without a transposition: entry `n` is bit `n // b` of byte `n % b`.

    Returns:
        `b = ceil(entries / 8)` bytes, uint8.

    Example:
        >>> in_planes(torch.tensor([True, False, True] + [False] * 7))
        tensor([3, 0], dtype=torch.uint8)
    """
    entries = mask.flatten().numpy()
    padded = np.pad(entries, (0, -len(entries) % 8)).reshape(8, -1)
    return torch.from_numpy(np.packbits(padded, axis=0, bitorder="little").flatten())


def many_tasks(network: Network, states: Sequence[TaskState]) -> ManyTasks:
    """Return several tasks as one module, on the CPU.

    Args:
        network: over which the tasks were learned.
        states: of the tasks, in the order of their numbers.

    Raises:
        UnsupportedModuleError: a task changes weights in another way than by a mask or by its own values.
        MaskError: a state is not over the parameters of this network.
    """
    for state in states:
        network.check_once(state)
        _check(state)
    masks, values, buffers = dict[str, Iterable[Tensor]](), dict[str, Tensor](), network.buffers
    for name in dict.fromkeys(chain.from_iterable((*state.changes, *state.buffers) for state in states)):
        if name in buffers:
            values[name] = torch.stack([state.buffers.get(name, buffers[name].cpu()) for state in states])
            continue
        changes = [state.changes.get(name) for state in states]
        masked = [change for change in changes if isinstance(change, Masked)]
        if len(masked) == len(states):
            masks[name] = map(Masked.used, masked)  # made one after the other: they take eight times their bits
        elif not all(change is None or isinstance(change, Unchanged) for change in changes):
            values[name] = _stacked([_value(network, name, change, changes) for change in changes])
    return ManyTasks(network.backbone.holding({**network.weights, **network.weights.buffers}).cpu(), masks, values)


def _check(state: TaskState) -> None:
    for name, change in state.changes.items():
        if not isinstance(change, _OF_TASKS):
            raise UnsupportedModuleError(
                f"a file of several tasks can hold masks, heads and a task's own values, got {type(change).__name__} "
                f"of {name!r} in task {state.name!r}; write this task to a file of its own: export_onnx(task, path)"
            )


def _value(network: Network, name: str, change: Change | None, changes: Sequence[Change | None]) -> Tensor:
    shape = next(each.shape for each in (change, *changes) if each is not None)
    shared = network.shared(name, shape)
    return (shared if change is None else change.applied(shared)).cpu()


def _stacked(values: Sequence[Tensor]) -> Tensor:
    """Return values of all tasks in one tensor; smaller ones, as of heads with fewer classes, end with zeros."""
    rows = max(len(value) for value in values)
    stacked = torch.zeros(len(values), rows, *values[0].shape[1:], dtype=values[0].dtype)
    for number, value in enumerate(values):
        stacked[number, : len(value)] = value
    return stacked
