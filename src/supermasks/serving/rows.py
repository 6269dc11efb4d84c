"""Rows of several tasks at once: the one place where the server asks the network for the answers of known tasks."""

from collections.abc import Sequence

import torch
from torch import Tensor

from supermasks.answering import most_probable
from supermasks.network import Network
from supermasks.state import TaskState


def answered(network: Network, inputs: Tensor, states: Sequence[TaskState]) -> tuple[Tensor, Tensor]:
    """Return the index of the most probable class of each row by its own task, and its probability.

    Args:
        network: over which the tasks were learned.
        inputs: `rows x ...`, as the network takes them.
        states: of the task of each row.

    Raises:
        InputError: an output is not finite, or an embedding lacks a token.
    """
    groups = dict[TaskState, list[int]]()
    for row, state in enumerate(states):
        groups.setdefault(state, []).append(row)
    if len(groups) == 1:
        return most_probable(network, inputs, states[0], len(inputs))
    classes = torch.zeros(len(inputs), dtype=torch.int64)
    confidence = torch.zeros(len(inputs), dtype=torch.float32)
    for state, rows in groups.items():
        classes[rows], confidence[rows] = most_probable(network, inputs[rows], state, len(rows))
    return classes, confidence


def answered_by_all(network: Network, inputs: Tensor, states: Sequence[TaskState]) -> tuple[list[Tensor], list[Tensor]]:
    """Return the same for each of several tasks that answer to the same rows.

    Args:
        network: over which the tasks were learned.
        inputs: `rows x ...`, as the network takes them.
        states: of the tasks.

    Raises:
        InputError: an output is not finite, or an embedding lacks a token.
    """
    found = [most_probable(network, inputs, state, len(inputs)) for state in states]
    return [classes for classes, _ in found], [confidence for _, confidence in found]
