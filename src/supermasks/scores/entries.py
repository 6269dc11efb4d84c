"""What an earlier task does with each shared weight."""

import torch
from torch import Tensor

from supermasks.changes import Masked, Signed
from supermasks.state import TaskState


def entries_of(state: TaskState, name: str) -> Tensor | None:
    """Return 1 where a task keeps a weight, 0 where it drops it, and -1 where it flips it, int8.

    Args:
        state: of the task.
        name: of the parameter.

    Returns:
        None if the task does something else with the parameter, as to give it values of its own.
    """
    change = state.changes.get(name)
    if isinstance(change, Signed):
        return change.states
    return change.used().view(torch.int8) if isinstance(change, Masked) else None
