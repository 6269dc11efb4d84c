"""What a network answers with the mask of a task, and which task a batch seems to be of."""

from collections.abc import Sequence

import torch
from torch import Tensor

from supermasks.asking import readable_errors
from supermasks.batch_checks import check_inputs
from supermasks.errors import InputError
from supermasks.inference import TaskInference
from supermasks.inference.task_inference import checked
from supermasks.masks.rows import compiled
from supermasks.mixed_rows import FEW_TASKS, mixed_logits
from supermasks.network import Network
from supermasks.replayed import Records
from supermasks.state import TaskState
from supermasks.superposition import Superposition
from supermasks.trunk import trunk_records
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
    with readable_errors():
        logits = torch.cat([network.logits(part, state) for part in inputs.split(chunk)])
    return _checked(logits)[:, : len(state.classes)].softmax(dim=1)


def most_probable(network: Network, inputs: Tensor, state: TaskState, chunk: int) -> tuple[Tensor, Tensor]:
    """Return the index of the most probable class of each input, and its probability (see `class_probabilities`)."""
    probabilities, classes = class_probabilities(network, inputs, state, chunk).max(dim=1)
    return classes, probabilities


def most_probable_of_each(
    network: Network, inputs: Tensor, states: Sequence[TaskState], which: Tensor, chunk: int
) -> tuple[Tensor, Tensor]:
    """Return the index of the most probable class of each input by a task of its own, and its probability.

    Rows of different tasks go through the network together (`mixed_logits`).

    Args:
        network: over which the tasks were learned.
        inputs: as the network takes them.
        states: of the tasks.
        which: `inputs`, int64, the index of the task of each input.
        chunk: how many inputs are computed at once.

    Raises:
        InputError: an output is not finite, or an embedding lacks a token.
    """
    sizes = [len(state.info.classes) for state in states]
    if network.head is None or len({*sizes}) == 1:
        return _of_each(network, inputs, states, sizes, which, chunk)
    # A layer with its own head for each task gives as many logits as the task has classes.
    classes, confidence = torch.zeros(len(inputs), dtype=torch.int64), torch.zeros(len(inputs), dtype=torch.float32)
    for size in dict.fromkeys(sizes):
        rows = (torch.tensor(sizes)[which] == size).nonzero().flatten()
        classes[rows], confidence[rows] = _of_each(network, inputs[rows], states, sizes, which[rows], chunk)
    return classes, confidence


def _of_each(
    network: Network, inputs: Tensor, states: Sequence[TaskState], sizes: Sequence[int], which: Tensor, chunk: int
) -> tuple[Tensor, Tensor]:
    """Do what `most_probable_of_each` does, for tasks with as many logits, and these numbers of classes."""
    sort = bool((which[1:] < which[:-1]).any())
    order = which.argsort(stable=True) if sort else torch.arange(len(which))
    if sort:
        inputs, which = inputs[order], which[order]
    parts: list[Tensor] = []
    with readable_errors():
        for rows, of in zip(inputs.split(chunk), which.split(chunk), strict=True):
            tasks, counts = of.unique_consecutive(return_counts=True)
            parts.append(mixed_logits(network, rows, [states[task] for task in tasks.tolist()], counts.tolist()))
    logits = _checked(torch.cat(parts))
    if min(sizes) < logits.shape[1]:
        superfluous = torch.arange(logits.shape[1]) >= torch.tensor(sizes)[which][:, None]
        logits = logits.masked_fill(superfluous, -torch.inf)
    confidence, classes = logits.softmax(dim=1).max(dim=1)
    if not sort:
        return classes, confidence
    back = order.argsort()
    return classes[back], confidence[back]


def most_probable_of_all(
    network: Network, inputs: Tensor, states: Sequence[TaskState], chunk: int
) -> list[tuple[Tensor, Tensor]]:
    """Return what each of several tasks answers to the same inputs, as `most_probable` does.

    The layers before the first one that a task changes are computed once. If there are none, the tasks go through the
    network together, as rows of one batch.

    Args:
        network: over which the tasks were learned.
        inputs: as the network takes them.
        states: of the tasks, at least one.
        chunk: how many inputs are computed at once.

    Raises:
        InputError: an output is not finite, or an embedding lacks a token.
    """
    parts: list[list[tuple[Tensor, Tensor]]] = []
    for part in inputs.split(chunk):
        check_inputs(part, states[0].input_shape, states[0].input_dtype)
        with readable_errors():
            records = trunk_records(network, part, states)
        if records:
            if len(states) >= FEW_TASKS:
                compiled()  # from now on masks are applied by machine code, if there is any
            parts.append([_of_one(network, part, state, records) for state in states])
            continue
        which = torch.arange(len(states)).repeat_interleave(len(part))
        copies = part.expand(len(states), *part.shape).flatten(0, 1)
        classes, confidence = most_probable_of_each(network, copies, states, which, chunk)
        parts.append([*zip(classes.split(len(part)), confidence.split(len(part)), strict=True)])
    return [
        (torch.cat([classes for classes, _ in of_task]), torch.cat([confidence for _, confidence in of_task]))
        for of_task in zip(*parts, strict=True)
    ]


def _of_one(network: Network, inputs: Tensor, state: TaskState, records: Records) -> tuple[Tensor, Tensor]:
    with readable_errors():
        logits = _checked(network.logits(inputs, state, records))
    confidence, classes = logits[:, : len(state.classes)].softmax(dim=1).max(dim=1)
    return classes, confidence


def _checked(logits: Tensor) -> Tensor:
    if not bool(torch.isfinite(logits).all()):
        raise InputError("the outputs of the network are not finite for these inputs; are they scaled as in training?")
    return logits


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

    Raises:
        ConfigError: the inference returns something else than a belief about these tasks and inputs.
        InputError: its evidence is NaN.
    """
    with torch.no_grad(), readable_errors():
        if together:
            return checked(inference.infer(superposition, inputs), inference, superposition, 1)
        beliefs = [
            checked(inference.infer_each(superposition, part), inference, superposition, len(part))
            for part in inputs.split(chunk)
        ]
        return Belief.joined(beliefs)
