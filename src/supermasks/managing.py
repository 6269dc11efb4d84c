"""Tasks that come and go: added, removed, renamed, taken over from a bank, moved to a device."""

from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from supermasks.bank import MaskBank
from supermasks.brief import expect
from supermasks.errors import BankFormatError, ConfigError, StorageError
from supermasks.inference import Calibration
from supermasks.moments import Moments
from supermasks.predictor import Predictor
from supermasks.state import TaskState
from supermasks.trial import check_answers

Managed = TypeVar("Managed", bound="TaskManager")


class TaskManager(Predictor):
    """A predictor whose tasks can change: network and bank change together, and a calibration stays where it holds."""

    def add(
        self,
        state: TaskState,
        memory: Mapping[str, Tensor] | None = None,
        weights: Mapping[str, Tensor] | None = None,
        moments: Moments | None = None,
    ) -> None:
        """Add the state of a task that was learned before or elsewhere, over the same base and after the same tasks.

        If anything fails, or is interrupted, network and bank stay as they were.

        Args:
            state: of the task.
            memory: what the next task may begin with. It replaces the memory of the bank; None leaves that unchanged.
            weights: all shared weights, if the task has trained them.
            moments: what was counted of this task, if it was. They may hold other tasks as well, if they hold all that
                were counted in the bank.

        Raises:
            DuplicateTaskError: a task of this name was learned.
            BaseMismatchError: the state fits only another base, as that of a compressed fine-tune.
            MaskError: the state does not fit the network, or was learned over other weights. The moments are not those
                of this task, or are missing, although tasks of the bank have some.
        """
        expect(state, TaskState, "what is added to a learner")
        written = self.network.writing(state, weights)
        written.check(state)
        before = self.network
        try:
            self.network = written
            self.bank.add(state, weights, moments, memory)
        finally:
            if self.bank.over != self.network.weights.over:  # the bank did not take the task
                self.network = before

    def remove(self, name: str) -> TaskState:
        """Forget a task, and return its state, which `add` takes back; the other tasks answer as before.

        What is remembered of it for the next task (KKT, Transfer by scores) stays. Calibrate anew afterwards. A router
        keeps the scatter of its inputs until no task is left. It also keeps the features that were fitted on the first
        task. `fit_router` with the other tasks begins anew.

        Raises:
            UnknownTaskError: no task has this name.
            TaskError: the task has trained shared weights.
        """
        state = self.bank.remove(name)
        self._superposed = None  # it holds the state
        return state

    def rename(self, name: str, new: str) -> None:
        """Give a task another name; its place, its answers and the calibration stay.

        Raises:
            UnknownTaskError: no task has this name.
            DuplicateTaskError: another task has the new name.
            TaskError: the new name is invalid.
        """
        calibrated = self._is_calibrated()
        self.bank.rename(name, new)
        self._superposed = None
        if calibrated and self.calibration is not None:
            names = tuple(new if task == name else task for task in self.calibration.candidates)
            self.calibration = replace(self.calibration, candidates=names)
            self._calibrated = (self._tasks_now(), self.inference)

    def recalibrate(self, described: Mapping[str, Any]) -> None:
        """Take over a calibration of this inference that was saved with a bank, if it is of these tasks.

        Args:
            described: as `Calibration.described` returned it. If it says `of` what it is, as `BankFolder.save` writes
                it, the tasks must be the same, bit for bit; otherwise they must have the same names.

        Raises:
            BankFormatError: it is none.
        """
        try:
            calibration = Calibration.built(described)
        except (ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
            raise BankFormatError(
                f"the stored calibration cannot be read: {type(error).__name__}: {error}; restore the bank from a copy"
            ) from error
        of = described.get("of")
        if list(calibration.candidates) == self.bank.names and (of is None or of == self.bank.identity):
            self.calibration = calibration
            self._calibrated = (self._tasks_now(), self.inference)

    def to(self: Managed, device: str | torch.device) -> Managed:
        """Compute on another device from now on, and return this learner. What was learned stays as it is.

        Args:
            device: such as "cuda" or "cpu".

        Raises:
            ConfigError: this machine cannot compute there.
        """
        calibrated = self._is_calibrated()
        self.network = self.network.to(device)
        self._superposed = None
        if calibrated:
            self._calibrated = (self._tasks_now(), self.inference)
        return self

    @contextmanager
    def _keeping_weights(self) -> Generator[None]:
        """Give the shared weights their values back at the end, if a method has written into them, in place."""
        try:
            yield
        finally:
            if self.network.written():
                calibrated, network = self._is_calibrated(), self.network.before_tasks()
                self.network = network.on(self.bank.written(network.weights))
                if calibrated:
                    self._calibrated = (self._tasks_now(), self.inference)

    def adopt(self, bank: MaskBank) -> None:
        """Take over the tasks of a bank, for a learner that has learned none.

        Args:
            bank: learned over the same network.

        Raises:
            BaseMismatchError: it was learned over another network, or its last task answers otherwise over this one.
            ConfigError: this learner has tasks of its own.
            BankFormatError: the file of a task that owns weights is missing, truncated or altered.
        """
        if len(self.bank):
            raise ConfigError("the learner has learned tasks already; merge them with the bank, or make a new learner")
        expect(bank, MaskBank, "what a learner adopts")
        bank.check(self.network)
        network = self.network.on(bank.written(self.network.weights))
        with suppress(BankFormatError, StorageError):  # a task that cannot be read is an error when it is used
            if (last := bank.last) is not None:  # it was learned over all weights as they are now
                check_answers(network, bank[last])
        self.network, self.bank = network, bank
