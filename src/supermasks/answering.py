"""What a network answers with the mask of a task, and which task a batch seems to be of."""

import torch
from torch import Tensor

from supermasks.asking import readable_lookups
from supermasks.errors import InputError
from supermasks.inference import TaskInference
from supermasks.network import Network
from supermasks.state import TaskState
from supermasks.superposition import Superposition
from supermasks.types import Belief


def class_probabilities(network: Network, inputs: Tensor, state: TaskState, chunk: int) -> Tensor:
    """Return the probability of each of a task's classes, `inputs x classes`. Superfluous neurons are left out.

    Args:
        network: over which the task was learned.
        inputs: as the network takes them.
        state: of the task.
        chunk: how many inputs are computed at once.

    Raises:
        InputError: an output is not finite, or an embedding lacks a token.
    """
    with readable_lookups():
        logits = torch.cat([network.logits(part, state) for part in inputs.split(chunk)])
    if not bool(torch.isfinite(logits).all()):
        raise InputError("the outputs of the network are not finite for these inputs; are they scaled as in training?")
    return logits[:, : len(state.classes)].softmax(dim=1)


def most_probable(network: Network, inputs: Tensor, state: TaskState, chunk: int) -> tuple[Tensor, Tensor]:
    """Return the index of the most probable class of each input, and its probability (see `class_probabilities`)."""
    probabilities, classes = class_probabilities(network, inputs, state, chunk).max(dim=1)
    return classes, probabilities


def believed(
    inference: TaskInference, superposition: Superposition, inputs: Tensor, together: bool, chunk: int
) -> Belief:
    """Return to which of the mixed tasks inputs belong.

    Args:
        inference: decides.
        superposition: of the tasks.
        inputs: as the network takes them.
        together: whether all inputs are of one task; the belief then has one row.
        chunk: how many inputs are judged at once where each is judged by itself.
    """
    with torch.no_grad(), readable_lookups():
        if together:
            return inference.infer(superposition, inputs)
        return Belief.joined([inference.infer_each(superposition, part) for part in inputs.split(chunk)])
