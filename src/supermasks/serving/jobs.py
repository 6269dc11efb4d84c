"""What waits to be computed: questions with everything that their answers need, and how they are computed together."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Protocol

import torch
from torch import Tensor

from supermasks.asking import network_inputs
from supermasks.errors import BankBusyError, BankFormatError, StorageError, SupermasksError, TaskError
from supermasks.network import Network
from supermasks.serving.refusal import RefusedError
from supermasks.serving.rows import answered, answered_by_all
from supermasks.serving.snapshot import Snapshot
from supermasks.state import TaskState
from supermasks.types import Prediction


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


Answer = Answers | Prediction | list[Answers]
Outcome = Answer | Exception
"""An error is a `RefusedError`, or whatever the network of the user has raised."""


class Job(Protocol):
    """A question with everything that its answer needs."""

    @property
    def inputs(self) -> Tensor:
        """Its rows."""
        ...

    @property
    def beside(self) -> object:
        """What other jobs of this class must have as well to be computed together with it; None if none can be."""
        ...

    @classmethod
    def answers(cls, jobs: Sequence[Any], rows: Tensor, parts: Sequence[slice]) -> Sequence[Answer]:
        """Return the answer of each of several jobs that are computed together.

        Args:
            jobs: of this class.
            rows: the inputs of all of them.
            parts: where the rows of each job are.
        """
        ...


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

    @property
    def beside(self) -> object:
        return _unless_by_batch(self.network, self.network)

    @classmethod
    def answers(cls, jobs: Sequence["Named"], rows: Tensor, parts: Sequence[slice]) -> Sequence[Answer]:
        states = [job.state for job in jobs for _ in range(len(job.inputs))]
        classes, confidence = answered(jobs[0].network, rows, states)
        return [Answers(job.state, classes[of], confidence[of]) for job, of in zip(jobs, parts, strict=True)]


@dataclass(frozen=True, eq=False)
class Unnamed:
    """Rows whose task is not known. With `norm="batch"` they are of one task, and judged together.

    Attributes:
        snapshot: the bank as it was when the request came: it finds the task, and answers.
        inputs: as the client sent them.
        among: the names of the tasks to choose among; None stands for all.
    """

    snapshot: Snapshot
    inputs: Tensor
    among: tuple[str, ...] | None

    @property
    def beside(self) -> object:
        return _unless_by_batch(self.snapshot.network, self.snapshot) if self.among is None else None

    @classmethod
    def answers(cls, jobs: Sequence["Unnamed"], rows: Tensor, parts: Sequence[slice]) -> Sequence[Answer]:
        snapshot, among = jobs[0].snapshot, jobs[0].among
        try:
            whole = snapshot.predictor.predict(rows, together=snapshot.network.norm == "batch", among=among)
        except TaskError as error:
            if not snapshot.counts(snapshot.names if among is None else among):
                raise RefusedError(503, f"the bank cannot find the task of an input: {error}") from error
            raise
        return [whole.of_rows(of) for of in parts]


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

    @property
    def beside(self) -> object:
        return None

    @classmethod
    def answers(cls, jobs: Sequence["ToAll"], rows: Tensor, parts: Sequence[slice]) -> Sequence[Answer]:
        (job,) = jobs
        classes, confidence = answered_by_all(job.network, rows, job.states)
        return [[Answers(*one) for one in zip(job.states, classes, confidence, strict=True)]]


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


def _unless_by_batch(network: Network, beside: object) -> object:
    """Return what jobs share; None if an answer depends on all rows of the batch, so that a job must be alone."""
    return None if network.norm == "batch" else beside


def _group(job: Job) -> object:
    """Return a value that is equal for jobs that can be computed together."""
    return job if job.beside is None else (type(job), id(job.beside), job.inputs.shape[1:], job.inputs.dtype)


def _together(jobs: Sequence[Job]) -> Sequence[Answer]:
    ends = [*accumulate(len(job.inputs) for job in jobs)]
    rows = jobs[0].inputs if len(jobs) == 1 else torch.cat([job.inputs for job in jobs])
    return type(jobs[0]).answers(jobs, rows, [*map(slice, [0, *ends], ends)])


def _told(error: Exception) -> Exception:
    """Return what the client of a job is told: a refusal, or an error that is not its fault as it is."""
    if isinstance(error, (BankFormatError, StorageError, BankBusyError)):
        return StaleError(503, f"the bank could not be read: {error}", retry_after=1)
    return RefusedError.of(error) if isinstance(error, SupermasksError) else error
