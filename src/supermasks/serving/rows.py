"""Rows of several tasks at once: the one place where the server asks the network for the answers of known tasks."""

from collections.abc import Sequence

import torch
from torch import Tensor

from supermasks.answering import most_probable, most_probable_of_all, most_probable_of_each
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
    place = {state: number for number, state in enumerate(dict.fromkeys(states))}
    if len(place) == 1:
        return most_probable(network, inputs, states[0], len(inputs))
    which = torch.tensor([place[state] for state in states])
    return most_probable_of_each(network, inputs, list(place), which, len(inputs))


def answered_by_all(network: Network, inputs: Tensor, states: Sequence[TaskState]) -> tuple[list[Tensor], list[Tensor]]:
    """Return the same for each of several tasks that answer to the same rows.

    Args:
        network: over which the tasks were learned.
        inputs: `rows x ...`, as the network takes them.
        states: of the tasks.

    Raises:
        InputError: an output is not finite, or an embedding lacks a token.
    """
    found = most_probable_of_all(network, inputs, states, len(inputs))
    return [classes for classes, _ in found], [confidence for _, confidence in found]
