"""A bank at one moment, and what answers with it."""

from collections.abc import Sequence
from contextlib import suppress

import torch

from supermasks.bank import BankFolder, MaskBank
from supermasks.errors import SupermasksError, TaskError
from supermasks.inference import TaskInference
from supermasks.learner_checks import check_stored
from supermasks.managing import TaskManager
from supermasks.network import Network
from supermasks.spec import build, describe
from supermasks.state import TaskState
from supermasks.trial import check_answers

ANY, ALL = "_any", "_all"
"""The names under which a client asks if it does not know the task, and for the answers of many tasks."""

RESERVED = (ANY, ALL)


class Snapshot:
    """A bank at one moment. A request keeps the snapshot that it began with.

    Attributes:
        predictor: answers with the tasks of this moment.
        names: of the tasks, in the order of learning.
        number: counts the snapshots.
        bytes: on the disk.
        asked: whether a client asked without a task, so that the next snapshot should have its tasks mixed already.
    """

    def __init__(self, predictor: TaskManager, number: int, size: int) -> None:
        self.predictor, self.number, self.bytes, self.asked = predictor, number, size, False
        self._names = dict.fromkeys(predictor.tasks)

    @property
    def names(self) -> Sequence[str]:
        return list(self._names)

    @property
    def bank(self) -> MaskBank:
        """The states of the tasks."""
        return self.predictor.bank

    @property
    def network(self) -> Network:
        """The network, with what tasks have written into it."""
        return self.predictor.network

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __len__(self) -> int:
        return len(self._names)

    def counts(self, names: Sequence[str]) -> bool:
        """Return whether the bank has the statistics of tasks, if the inference needs them to find any.

        Args:
            names: of the tasks.

        Raises:
            SupermasksError: everything that `state` raises.
        """
        if self.predictor.inference.statistics is None:
            return True
        moments = self.bank.moments
        return moments is not None and all(moments.hold(self.state(name).means) for name in names)

    def in_memory(self, name: str) -> TaskState | None:
        """Return the state of a task if that takes no time; otherwise None."""
        return self.bank.in_memory(name)

    def state(self, name: str) -> TaskState:
        """Return the state of a task.

        Raises:
            BankFormatError: another process has changed the task since; or it is damaged.
            StorageError: it cannot be read.
            BankBusyError: another process kept the bank locked.
        """
        return self.bank[name]


class SnapshotMaker:
    """Makes snapshots of a bank over one network.

    Args:
        folder: of the bank.
        base: the network before any task.
        inference: how the task of an input is found; None takes what the bank says.
        cache_bytes: the most bytes of tasks to keep in memory.

    Raises:
        BankFormatError: the bank was not saved by a learner.
    """

    def __init__(self, folder: BankFolder, base: Network, inference: TaskInference | None, cache_bytes: int) -> None:
        self._folder, self._base, self._cache_bytes = folder, base, cache_bytes
        self._inference = inference

    def make(self, before: Snapshot | None) -> Snapshot:
        """Return a snapshot of the bank as it is now.

        Args:
            before: the last snapshot; tasks that have not changed since are not read again.

        Raises:
            BaseMismatchError: the bank is now over another network, or its last task answers otherwise.
            TaskError: a task has a reserved name, so that no client could ask for it.
            SupermasksError: everything that `BankFolder.open` raises.
        """
        bank = self._folder.open(self._cache_bytes)
        stored = bank.header.settings
        check_stored(stored, self._folder.path)
        bank.check(self._base)
        _check_names(bank.names)  # of this moment
        if before is not None:
            bank.reuse(before.bank)
        same = before is not None and before.bank.over == bank.over
        network = before.network if before is not None and same else self._base.on(bank.written(self._base.weights))
        if (last := bank.last) is not None and not _has(before, last, bank.digest(last)):
            check_answers(network, bank[last])
        inference = self._inference or build(stored["inference"], TaskInference)
        predictor = TaskManager(network, bank, inference)
        if "calibration" in stored and describe(inference) == stored["inference"]:
            predictor.recalibrate(stored["calibration"])
        size = sum(self._folder.sizes().values())
        made = Snapshot(predictor, 0 if before is None else before.number + 1, size)
        if before is not None and before.asked and len(made):
            made.asked = True
            _mix(predictor)
        return made


def _check_names(names: Sequence[str]) -> None:
    """Raise TaskError if a task has a reserved name."""
    for name in RESERVED:
        if name in names:
            raise TaskError(
                f"the bank has a task named {name!r}, but a server answers something else under this name; give the "
                f"task another one: BankFolder(path).rename({name!r}, NEW_NAME)"
            )


def _has(before: Snapshot | None, name: str, digest: str) -> bool:
    """Return whether a snapshot has the same task."""
    return before is not None and name in before.bank and before.bank.digest(name) == digest


def _mix(predictor: TaskManager) -> None:
    """Mix the tasks, which reads all of them, before a request waits for it."""
    first = predictor.bank[predictor.tasks[0]]
    floats = first.input_dtype.is_floating_point  # blank inputs have no evidence, which warns
    inputs = torch.full((1, *first.input_shape), 1 if floats else 0, dtype=first.input_dtype)
    with suppress(SupermasksError):  # a request without a task is then refused, and told why
        predictor.infer(inputs)
