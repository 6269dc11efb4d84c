"""Whether a task's state fits the parameters and buffers of a network."""

from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from supermasks.errors import BaseMismatchError, MaskError
from supermasks.state import TaskState

Shape = tuple[int, ...]


def check_changes(
    state: TaskState, shared: Mapping[str, Shape], dense: Mapping[str, Shape], head: Mapping[str, Shape]
) -> None:
    """Raise MaskError unless a task changes all shared weights and its whole head, and otherwise dense parameters only.

    Args:
        state: of the task.
        shared: the shapes of the weights that tasks share and change.
        dense: those of the parameters that a task may replace.
        head: those of a head for the classes of this task; empty if tasks have no head.
    """
    changed = {name: change.shape for name, change in state.changes.items()}
    if changed == shared and not head:  # for thousands of tasks, the rest takes longer than their answers
        return
    if {name: shape for name, shape in changed.items() if name in shared} != dict(shared):
        raise MaskError(
            f"task {state.name!r} changes {changed}, but the network has the weights {dict(shared)}; open the bank "
            "with the network that it was learned with"
        )
    known = {**dense, **head}
    others = {name: shape for name, shape in changed.items() if name not in shared}
    if not others.items() <= known.items() or not head.keys() <= others.keys():
        raise MaskError(f"task {state.name!r} has its own weights {others}, but the network has {known}")


def check_base(state: TaskState, fingerprint: str) -> None:
    """Raise BaseMismatchError if a task fits only another base than the one with this fingerprint."""
    if state.base not in ("", fingerprint):
        raise BaseMismatchError(
            f"expected a base with digest {state.base} for task {state.name!r}, which was made over it, got one with "
            f"digest {fingerprint}; build the network from the same base, or make the task anew over this one"
        )


def check_buffers(state: TaskState, buffers: Mapping[str, Tensor], free: Collection[str]) -> None:
    """Raise MaskError unless the network has the buffers of a task, with the same shapes and types.

    Args:
        state: of the task.
        buffers: of the network.
        free: names of buffers whose shape may differ: a layer may change it, as observers of quantisation do.
    """
    theirs, known = _kinds(state.buffers, free), _kinds(buffers, free)
    if not theirs.items() <= known.items():
        raise MaskError(f"the buffers of task {state.name!r} are {theirs}, but the network has {known}")


def _kinds(buffers: Mapping[str, Tensor], free: Collection[str]) -> dict[str, tuple[Shape, torch.dtype]]:
    return {name: (() if name in free else tuple(value.shape), value.dtype) for name, value in buffers.items()}
