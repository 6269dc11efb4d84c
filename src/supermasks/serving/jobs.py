"""What waits to be computed: questions with everything that their answers need, and how they are computed together."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

from supermasks.asking import network_inputs
from supermasks.errors import BankBusyError, BankFormatError, StorageError, SupermasksError
from supermasks.network import Network
from supermasks.serving.refusal import RefusedError
from supermasks.serving.rows import answered, answered_by_all
from supermasks.serving.snapshot import Snapshot
from supermasks.state import TaskState
from supermasks.types import Prediction


@dataclass(frozen=True, eq=False)
class Named:
    """Rows of one task.

    Attributes:
        network: with what tasks have written into it.
        inputs: as the network takes them.
        state: of the task, as it was when the request came.
    """

    network: Network
    inputs: Tensor
    state: TaskState


@dataclass(frozen=True, eq=False)
class Unnamed:
    """Rows whose task is not known.

    Attributes:
        snapshot: the bank as it was when the request came.
        inputs: as the client sent them.
        among: the names of the tasks to choose among; None stands for all.
    """

    snapshot: Snapshot
    inputs: Tensor
    among: tuple[str, ...] | None


@dataclass(frozen=True, eq=False)
class ToAll:
    """Rows that several tasks answer.

    Attributes:
        network: with what tasks have written into it.
        inputs: as the network takes them.
        states: of the tasks, as they were when the request came.
    """

    network: Network
    inputs: Tensor
    states: tuple[TaskState, ...]


@dataclass(frozen=True, eq=False)
class Answers:
    """What one task answers to some rows.

    Attributes:
        state: of the task.
        classes: `rows`, the index of the most probable class.
        confidence: `rows`, its probability.
    """

    state: TaskState
    classes: Tensor
    confidence: Tensor


class StaleError(RefusedError):
    """The bank on the disk is no longer that of the snapshot, or cannot be read; a new snapshot may help."""


Job = Named | Unnamed | ToAll
Answer = Answers | Prediction | list[Answers]
Outcome = Answer | Exception
"""An error is a `RefusedError`, or whatever the network of the user has raised."""


def compute(jobs: Sequence[Job]) -> list[Outcome]:
    """Return the answer of each job; rows of different jobs go through the network together where that is the same.

    If something is wrong with one of them, the others are answered.
    """
    outcomes: dict[Job, Outcome] = {}
    groups = dict[object, list[Job]]()
    for job in jobs:
        groups.setdefault(_group(job), []).append(job)
    for group in groups.values():
        try:
            outcomes |= zip(group, _together(group), strict=True)
        except Exception as error:
            if len(group) == 1:
                outcomes[group[0]] = _told(error)
            else:  # one of them may be wrong
                outcomes |= {job: compute([job])[0] for job in group}
    return [outcomes[job] for job in jobs]


def inputs_for(raw: Tensor, states: Sequence[TaskState]) -> Tensor:
    """Return rows as the network takes them.

    Args:
        raw: as the client sent them.
        states: of the tasks that shall answer.

    Raises:
        InputError: they are not in the form that the tasks were learned from, or not finite.
        RefusedError: the tasks take inputs of different forms.
    """
    first = states[0]
    of = {(state.input_shape, state.input_dtype, state.input_form) for state in states}
    if len(of) > 1:
        raise RefusedError(400, "the tasks take inputs of different shapes, types or forms; ask them one by one")
    return network_inputs(raw, first, first.input_form)


def _group(job: Job) -> object:
    """Return a value that is equal for jobs that can be computed together."""
    if isinstance(job, Named) and job.network.norm != "batch":  # otherwise answers depend on the other rows
        return Named, id(job.network), job.inputs.shape[1:], job.inputs.dtype
    if isinstance(job, Unnamed) and job.among is None and job.snapshot.network.norm != "batch":
        return Unnamed, id(job.snapshot), job.inputs.shape[1:], job.inputs.dtype
    return id(job)


def _together(jobs: list[Job]) -> Sequence[Answer]:
    first = jobs[0]
    if isinstance(first, Named):
        return _named([job for job in jobs if isinstance(job, Named)])
    if isinstance(first, Unnamed):
        return _unnamed([job for job in jobs if isinstance(job, Unnamed)], first)
    classes, confidence = answered_by_all(first.network, first.inputs, first.states)
    return [[Answers(*one) for one in zip(first.states, classes, confidence, strict=True)]]


def _named(jobs: list[Named]) -> list[Answers]:
    states = [job.state for job in jobs for _ in range(len(job.inputs))]
    inputs = jobs[0].inputs if len(jobs) == 1 else torch.cat([job.inputs for job in jobs])
    classes, confidence = answered(jobs[0].network, inputs, states)
    sizes = [len(job.inputs) for job in jobs]
    parts = zip(jobs, classes.split(sizes), confidence.split(sizes), strict=True)
    return [Answers(job.state, of, sure) for job, of, sure in parts]


def _unnamed(jobs: list[Unnamed], first: Unnamed) -> list[Prediction]:
    whole = first.snapshot.predictor.predict(torch.cat([job.inputs for job in jobs]), among=first.among)
    ends = list(accumulate(len(job.inputs) for job in jobs))
    return [whole.of_rows(slice(end - len(job.inputs), end)) for job, end in zip(jobs, ends, strict=True)]


def _told(error: Exception) -> Exception:
    """Return what the client of a job is told: a refusal, or an error that is not its fault as it is."""
    if isinstance(error, (BankFormatError, StorageError, BankBusyError)):
        return StaleError(503, f"the bank could not be read: {error}", retry_after=1)
    return RefusedError.of(error) if isinstance(error, SupermasksError) else error
