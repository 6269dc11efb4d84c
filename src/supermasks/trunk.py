"""What no task changes: the layers before the first one that tasks mask, computed once for many tasks."""

from collections.abc import Sequence

import torch
from torch import Tensor

from supermasks.network import Network
from supermasks.replayed import Records
from supermasks.state import TaskState


def trunk_records(network: Network, inputs: Tensor, states: Sequence[TaskState]) -> Records:
    """Return the outputs of the layers that are the same for all tasks; `Network.logits` takes them.

    These are the layers that are called before the first one whose parameters or buffers a task changes.

    Args:
        network: over which the tasks were learned.
        inputs: `batch x ...`.
        states: of the tasks, at least one.

    Returns:
        nothing if the first layer with parameters differs already.
    """
    for state in states:
        network.check_once(state)
    if network.backbone.compiled:
        return {}
    changed = frozenset[str]().union(*(state.changed for state in states))
    values = network.effective(states[0])
    for name in changed:
        value = values.get(name, network.constants.get(name))
        value = network.buffers[name] if value is None else value
        if value.is_floating_point():
            values[name] = torch.full_like(value, torch.nan)
    records = network.backbone.trunk(inputs, values, changed)
    costly = any(True for layer in records for _ in layer.parameters())
    return records if costly else {}
