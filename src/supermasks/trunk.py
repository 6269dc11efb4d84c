"""What no task changes: the layers before the first one that tasks mask, computed once for many tasks."""

from collections.abc import Hashable, Sequence

import torch
from torch import Tensor

from supermasks.network import Network
from supermasks.replayed import Records
from supermasks.state import TaskState

TRIED_ROWS = 3
"""So many rows are compared."""

REPEATED = 2
"""So often the records are used in the comparison: the first time, layers may use up what the recording has left."""

TOLERANCE = 1e-3
"""The largest difference in the comparison, relative to the largest logit."""


def trunk_records(network: Network, inputs: Tensor, states: Sequence[TaskState]) -> Records:
    """Return the calls of the layers that are the same for all tasks; `Network.logits` takes them.

    These are the layers that are called before the first one whose parameters or buffers a task changes. The first
    time, answers to a few rows by such calls are compared with the usual answers.

    Args:
        network: over which the tasks were learned.
        inputs: `batch x ...`.
        states: of the tasks, at least one.

    Returns:
        nothing if the first layer with parameters differs already, if the answers would differ, as where a layer sets
        an attribute that others read, or if a layer raises an error.
    """
    for state in states:
        network.check_once(state)
    if network.backbone.compiled:
        return {}
    kinds = network.backbone.mixes
    changed = frozenset[str]().union(*(state.changed for state in states))
    kind: Hashable = ("trunk", changed)
    if not kinds.get(kind, True):
        return {}
    values = network.effective(states[0])
    for name in changed:
        value = values.get(name, network.constants.get(name))
        value = network.buffers[name] if value is None else value
        if value.is_floating_point():
            values[name] = torch.full_like(value, torch.nan)
        elif not name.endswith("num_batches_tracked"):
            return {}  # an integer cannot be NaN, so outputs could depend on it unseen
    try:
        if kind not in kinds:
            few = inputs[:TRIED_ROWS]
            if not (records := network.backbone.trunk(few, values, changed)):
                return {}
            kinds[kind] = _agree(network, few, states[-1], records)
        # After the trial: layers may note something about the inputs that they got last.
        records = network.backbone.trunk(inputs, values, changed) if kinds[kind] else {}
    except Exception:
        return {}  # layers of a user may raise anything; the tasks, one by one, show whether the inputs are to blame
    return records if any(True for layer in records for _ in layer.parameters()) else {}


def _agree(network: Network, inputs: Tensor, state: TaskState, records: Records) -> bool:
    """Return whether a task has its usual logits by the recorded outputs, each time."""
    usual = network.logits(inputs, state)
    near = TOLERANCE * float(usual.nan_to_num(0.0, 0.0, 0.0).abs().max()) + 1e-6
    try:
        with network.backbone.undoing_errors():
            found = [network.logits(inputs, state, records) for _ in range(REPEATED)]
    except Exception:
        return False  # a layer may need another one to be called
    return all(torch.allclose(each, usual, rtol=0.0, atol=near, equal_nan=True) for each in found)
