"""A bank in a folder.

A bank has one of two forms. A *living* bank is a database, `bank.sqlite`: tasks come and go, and any number of
processes use it at once. A *shared* bank is a file for each task and a manifest: the Hugging Face Hub holds such banks,
and earlier versions of this library wrote them. Both are read. The first change of a shared bank turns it into a living
one. docs/format.md describes both for other programs.
"""

import os
from collections.abc import Callable, Generator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from torch import Tensor

from supermasks.bank import forms
from supermasks.bank.bank import MaskBank, owner_stays
from supermasks.bank.bytes import BankBytes, measure
from supermasks.bank.check import Problem, find_problems, repair
from supermasks.bank.connection import DATABASE, Connection
from supermasks.bank.contents import CACHE_BYTES, unknown_tasks
from supermasks.bank.database import DatabaseReader, MovedError
from supermasks.bank.difference import differs
from supermasks.bank.header import MOST_WEIGHTS, BankHeader
from supermasks.bank.reader import DEEPEST, KINDS, BankReader, TaskEntry
from supermasks.bank.shared import MANIFEST, write_shared
from supermasks.bank.succession import check_counted, check_left, with_task
from supermasks.bank.writer import BankWriter, Known
from supermasks.encoding import check_storable, encode_tensors
from supermasks.errors import BankBusyError, BankFormatError, ConfigError
from supermasks.files import as_path, storage
from supermasks.moments import Moments
from supermasks.network import Network
from supermasks.state import TaskState
from supermasks.task_info import check_name

__all__ = ["DEEPEST", "BankFolder", "Problem"]

BATCH = 100
"""So many tasks are saved at once: an interrupted save has all of them, or none."""

TRIES = 20
"""How often to look for a bank that other processes keep turning from one form into the other."""

Found = TypeVar("Found")


class BankFolder:
    """A bank in a folder. Any number of processes may use it at once.

    Its methods raise three errors that are not listed with each of them. A change that fails leaves the bank as it was.

    - BankFormatError: the folder holds no bank, or a part that the method reads is missing or damaged.
    - StorageError: the system cannot read or write it now.
    - BankBusyError: another process kept it locked for `wait` seconds.

    Args:
        path: of the folder; it need not exist.
        relative: code the mask of a task relative to the mask of the task before, where that is shorter. Similar masks
            then take fewer bytes, but longer to read.
        wait: how many seconds to wait while another process writes.
        most_weights: masks over more weights are only read with a network that has as many, since a damaged file could
            claim any number.
    """

    def __init__(
        self, path: str | os.PathLike[str], relative: bool = True, wait: float = 60.0, most_weights: int = MOST_WEIGHTS
    ) -> None:
        self.path, self.relative, self.wait, self.most_weights = as_path(path), relative, wait, most_weights
        self._known = Known()

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_known": Known()}

    def exists(self) -> bool:
        """Return whether there is a bank in the folder."""
        return forms.holds(self.path, DATABASE) or forms.holds(self.path, MANIFEST)

    def create(self, header: BankHeader, kept: Mapping[str, Tensor] | None = None) -> None:
        """Start an empty bank.

        Args:
            header: what its tasks are learned over.
            kept: the values of the backbone that the recipe cannot rebuild (`Network.kept`).

        Raises:
            BankFormatError: the folder already holds a bank.
        """
        shared = {"kept": encode_tensors(kept, KINDS["kept"])} if kept else {}
        self._make()
        forms.create_living(self.path, self.wait, header, shared)

    def _make(self) -> None:
        """Make the folder, which must not hold a bank."""
        if self.exists():
            raise BankFormatError(f"{self.path} already holds a bank; choose another folder, or append to that bank")
        with storage(f"{self.path} cannot hold a bank"):
            if self.path.exists() and not self.path.is_dir():
                raise BankFormatError(f"{self.path} cannot hold a bank: it is a file; choose another folder")
            self.path.mkdir(parents=True, exist_ok=True)

    def append(
        self,
        state: TaskState,
        memory: Mapping[str, Tensor] | None = None,
        weights: Mapping[str, Tensor] | None = None,
        moments: Moments | None = None,
    ) -> None:
        """Append one task; when this returns, it is on the disk.

        Args:
            state: of the task.
            memory: what the next task may begin with; None keeps the memory that is there.
            weights: all shared weights, if the task has trained them.
            moments: the statistics of this task, if it has some. They are added to those in the folder, or replace
                them if they hold all tasks of the folder that have statistics. `Moments.minus` gives those of one task.

        Raises:
            LabelError: a class label cannot be stored.
            TaskError: another value of the task cannot be stored.
            DuplicateTaskError: the bank has a task of this name.
            MaskError: the task changes other parameters than the bank's, was learned over other weights than its
                tasks leave, or would change weights that one of them uses. The moments are not those of this task, or
                are missing, although tasks in the folder have some.
            BaseMismatchError: the statistics are of other features than those of the tasks in the folder.
        """
        with self._changing() as writer:
            check_left(state, weights)
            writer.add(state)
            self._count(writer, state, moments)
            for kind, tensors in (("memory", memory), ("weights", weights if state.replaced else None)):
                if tensors is not None:
                    writer.share(kind, tensors)

    def save(self, bank: MaskBank, overwrite: bool = False, calibration: Mapping[str, Any] | None = None) -> None:
        """Make the folder hold this bank: create it, or append the tasks that the folder lacks.

        If the bank has no memory or no moments, those in the folder stay. Otherwise they are replaced: what was counted
        of a task that another process has added and removed meanwhile is lost. Such a task comes back with `append` and
        its moments alone, as `Moments.minus` gives them.

        Args:
            bank: to save.
            overwrite: replace another bank in the folder. The replacement happens at once, at the end, and only files
                of the other bank are removed.
            calibration: a setting that holds for exactly these tasks, as JSON data. It is stored with a digest of what
                the folder then has, so that it is noticed if another task gets the name of one of them.

        Raises:
            BankFormatError: the folder holds a bank that does not match the first tasks of this one; it stays.
            StorageError: the folder cannot be read or written. It may then have some of the new tasks; a bank that was
                to be replaced stays.
            LabelError: a class label cannot be stored; the folder stays as it was.
            TaskError: another value of a task cannot be stored; the folder stays as it was.
            MaskError: the bank has no moments, the folder has some, and a new task has means that these lack.
            BaseMismatchError: these means are of other features.
        """
        if not self.exists():
            for state in bank:
                check_storable(state)  # before anything is written
            self.create(bank.header, bank.kept)
        elif not (stored := self._reader()).living:
            differs(stored, bank, overwrite)  # refuse before it is turned into a living bank
        if overwrite:
            try:
                forms.make_living(self.path, self.wait)
            except BankFormatError:  # a damaged bank is replaced as well
                if not self._reader().living:
                    forms.create_living(self.path, self.wait, bank.header, {})
        if bank.is_stored_in(self.path):  # what is not in memory must still be found if the form changes
            forms.make_living(self.path, self.wait)
            bank.stored_in(self._reader())
        left, done, anew = -1, False, False
        while not done:
            with self._changing() as writer:
                if writer.bank.root.total != left:  # the first time, or another process has changed the bank since
                    anew = differs(writer.bank, bank, overwrite)
                if anew:
                    writer.begin_anew(bank.header, bank.kept)
                done = self._save_some(writer, bank, anew or bank.shares("weights"), calibration)
                left = writer.bank.root.total
        bank.was_stored(self._reader(), moved=anew)

    def share(self, bank: MaskBank, overwrite: bool = False, calibration: Mapping[str, Any] | None = None) -> None:
        """Make the folder hold this bank as a shared bank, as `save` does for a living one.

        Args:
            bank: to share.
            overwrite: replace another bank in the folder.
            calibration: as in `save`.

        Raises:
            SupermasksError: everything that `save` raises.
        """
        self.save(bank, overwrite, calibration)
        self.convert("shared")
        bank.was_stored(self._reader())

    def _save_some(
        self, writer: BankWriter, bank: MaskBank, everything: bool, calibration: Mapping[str, Any] | None
    ) -> bool:
        """Append the next tasks; return whether these were the last ones."""
        names = bank.names[writer.bank.count :][: None if everything else BATCH]
        writer.set_header(replace(writer.bank.header, settings=bank.header.settings))
        if bank.shares("moments"):  # before the tasks, so that each is recognised as soon as it is there
            writer.share("moments", bank.tensors("moments"))
        left = None if bank.shares("moments") else writer.bank.moments()
        for state in map(bank.__getitem__, names):
            check_counted(left, state)
            writer.add(state)
        if done := writer.bank.count == len(bank):
            for kind in filter(bank.shares, ("memory", "weights")):
                writer.share(kind, bank.tensors(kind))
            if calibration is not None:
                writer.set_header(_with_calibration(writer.bank.header, {**calibration, "of": writer.bank.identity}))
        return done

    def header(self) -> BankHeader:
        """Return what the bank was learned over."""
        return self._reader().header

    def open(self, cache_bytes: int = CACHE_BYTES) -> MaskBank:
        """Return the bank; each task is read, and its digest checked, when it is first used.

        Args:
            cache_bytes: the most bytes of tasks to keep in memory.
        """

        def opened(bank: BankReader) -> MaskBank:
            known = isinstance(bank, DatabaseReader) and self._known.total == bank.root.total
            union = self._known.union if known else None
            return MaskBank(bank.header, bank.tensors("kept"), bank, cache_bytes, self.most_weights, union)

        return self._look(opened)

    def read(self) -> MaskBank:
        """Return the bank with every task in memory, and every digest checked."""

        def read(stored: BankReader) -> MaskBank:
            bank = MaskBank(stored.header, stored.tensors("kept"))
            bank.merge(MaskBank(stored.header, stored=stored, cache_bytes=0, most_weights=self.most_weights))
            bank.was_stored(stored)
            return bank

        return self._look(read)

    def sizes(self) -> dict[str, int]:
        """Return the bytes on disk of each file, by its path in the folder."""
        return self._look(lambda bank: bank.sizes())

    def task_sizes(self) -> dict[str, int]:
        """Return the bytes on disk of each task, by its name."""
        return self._look(lambda bank: bank.task_sizes())

    def bytes(self) -> BankBytes:
        """Return the bytes on disk, item by item; this reads every task."""

        def measured(bank: BankReader) -> BankBytes:
            bank.header.check_size(self.most_weights)
            once = {kind: len(bank.raw(kind)) for kind in KINDS}
            manifest = sum(bank.sizes().values()) - sum(bank.task_sizes().values()) - sum(once.values())
            tasks = ((bank.task(entry.name), bank.content(entry)) for entry in bank.entries.values())
            return measure(tasks, manifest, once, bank.tensors("memory"))

        return self._look(measured)

    def replace(self, state: TaskState, moments: Moments | None = None) -> None:
        """Replace the task of the same name, in one step: other processes see the old task or the new one.

        The place in the order of learning stays.

        Args:
            state: of the new task.
            moments: its statistics, as in `append`. Those of the old task stay.

        Raises:
            UnknownTaskError: the bank has no task of this name.
            MaskError: the task changes other parameters than the bank's, was learned over other weights than the task
                before, or one of the two has trained shared weights. The moments are not those of the new task, or
                are missing, although tasks in the folder have some.
            BaseMismatchError: the statistics are of other features than those of the tasks in the folder.
            LabelError: a class label cannot be stored.
        """
        check_storable(state)
        with self._changing() as writer:
            entry = self._entry(writer, state.name)
            writer.replace(entry, state)
            self._count(writer, state, moments)

    def stamp(self) -> forms.Stamp:
        """Return a value that differs after each change of the bank. This never waits, and no writer waits for it.

        Take the stamp before `open`: if the stamp has not changed since, neither has the bank.
        """
        return forms.stamp_of(self.path)

    def rename(self, name: str, new: str) -> None:
        """Give a task another name, in a stored calibration as well.

        A coded mask may keep the name under which the task was learned.

        Raises:
            SupermasksError: everything that `MaskBank.rename` raises.
        """
        with self._changing() as writer:
            entry = self._entry(writer, name)
            check_name(new)
            if new != name:
                writer.rename(entry, new)
                if (header := _with_new_name(writer.bank.header, name, new)) is not None:
                    writer.set_header(header)

    def remove(self, name: str) -> None:
        """Remove a task from the bank, and its file from the disk.

        Of its statistics, its means are removed, but not its part in the sums over all tasks. The features also stay
        those of the first task, even if that is removed. If no task is left, nothing of the statistics is.

        Raises:
            SupermasksError: everything that `MaskBank.remove` raises.
        """
        with self._changing() as writer:
            entry = self._entry(writer, name)
            if entry.after:
                raise owner_stays(name)
            writer.drop({entry.file})

    def verify(self, network: Network | None = None) -> list[Problem]:
        """Read every file, and return what is wrong with the bank; an empty list means that it is sound.

        A task that keeps a router from recognising any is wrong as well, though `repair` leaves it (`Problem.stays`).

        Args:
            network: if given, also check that the bank was learned over its weights, that each task fits it, and that
                each task gives the answers that it gave when it was learned.

        Raises:
            BaseMismatchError: the bank was learned over weights that differ from the network's.
        """

        def problems(bank: BankReader) -> list[Problem]:
            if network is None:
                bank.header.check_size(self.most_weights)
            return find_problems(bank, network)

        return self._look(problems, sound=lambda problems: not problems)

    def repair(self) -> list[Problem]:
        """Remove from the bank what `verify` finds broken, and nothing else; return what was removed.

        A broken task is removed, and so are the tasks that depend on it: those whose masks cannot be read without it,
        and those learned over weights that it owns. Their files stay, with the ending .broken. A task with an invalid
        name gets another one.

        Raises:
            BankFormatError: a part that all tasks need is damaged; restore it from a copy.
            StorageError: a part cannot be read now, or needs a class that is not imported; it may be sound.
        """
        return repair(self.path, self.wait, self.most_weights)

    def convert(self, form: Literal["living", "shared"], target: str | os.PathLike[str] | None = None) -> None:
        """Turn the bank into its other form, if it is not in this form already. All bytes of its tasks stay the same.

        Args:
            form: "living" is a database, which can change; "shared" is a file for each task, to be read by others.
            target: another folder, which gets the bank in this form; None converts the bank in place.

        Raises:
            ConfigError: there is no such form, or the other folder is inside of this one.
            BankFormatError: the other folder holds a bank.
        """
        if form not in ("living", "shared"):
            raise ConfigError(f"expected the form 'living' or 'shared', got {form!r}")
        if target is None:
            (forms.make_living if form == "living" else forms.make_shared)(self.path, self.wait)
            return
        other = self._beside(target)
        other._make()
        with forms.open_held(self.path, self.wait) as bank:
            if form == "shared":
                write_shared(bank, other.path)
            else:
                forms.create_living(other.path, self.wait, *forms.copied(bank))

    def compact(self) -> None:
        """Give the space of removed tasks back to the system."""
        forms.make_living(self.path, self.wait)
        bank = DatabaseReader(self.path, self.wait, "write", look=False)
        with closing(bank.connection):
            bank.connection.rows("VACUUM")

    def backup(self, target: str | os.PathLike[str]) -> None:
        """Copy the bank, as it is now, into another folder. Other processes may go on writing.

        Args:
            target: the other folder, which must not hold a bank.

        Raises:
            ConfigError: the other folder is inside of this one.
            BankFormatError: the other folder holds a bank.
        """
        bank, other = self._reader(), self._beside(target)
        if isinstance(bank, DatabaseReader):
            other._make()
            bank.connection.copy(Connection(other.path, self.wait, "create"))
        else:
            self.convert("shared", target)

    def _beside(self, target: str | os.PathLike[str]) -> "BankFolder":
        """Return another folder for a copy of this bank; its files must not mix with those of the bank.

        Raises:
            ConfigError: it is inside of the folder of the bank.
        """
        other = BankFolder(target)
        if Path(os.path.realpath(self.path)) in Path(os.path.realpath(other.path)).parents:
            raise ConfigError(f"{other.path} is inside of the bank in {self.path}; choose a folder outside of it")
        return other

    def _count(self, writer: BankWriter, state: TaskState, moments: Moments | None) -> None:
        """Add what was counted of a task to the bank; raise what `with_task` raises."""
        if state.means is not None or moments is not None:  # otherwise stored moments are not read
            both = with_task(writer.bank.moments(), state, moments)
            if both is not None:
                writer.share("moments", both.tensors())

    def _entry(self, writer: BankWriter, name: str) -> TaskEntry:
        entry = writer.bank.find(name) if isinstance(name, str) else None
        if entry is None:
            raise unknown_tasks([name], list(writer.bank.entries))
        return entry

    def _reader(self) -> BankReader:
        return forms.open_bank(self.path, self.wait)

    def _look(self, find: Callable[[BankReader], Found], sound: Callable[[Found], bool] = lambda _: True) -> Found:
        """Return what is found in the bank; if another process has changed it meanwhile, look again, and let it wait.

        Args:
            find: reads the bank.
            sound: whether the result needs no second look.
        """
        with suppress(BankFormatError):
            found = find(self._reader())
            if sound(found):
                return found
        with forms.open_held(self.path, self.wait) as bank:
            return find(bank)

    @contextmanager
    def _changing(self) -> Generator[BankWriter]:
        """Yield a writer; what it changes is in the bank when the context ends without an error."""
        for _ in range(TRIES):
            if not forms.holds(self.path, DATABASE) or forms.holds(self.path, MANIFEST):
                forms.make_living(self.path, self.wait)
            writer = None
            try:
                with forms.open_living(self.path, self.wait) as bank:
                    writer = BankWriter(bank, self.relative, self.most_weights, self._known)
                    yield writer
                    writer.finish()
                self._known = writer.known()
                return
            except MovedError:
                if writer is not None:
                    raise
                forms.make_living(self.path, self.wait)  # unless there was never a bank
        raise BankBusyError(f"other processes changed the form of {self.path} {TRIES} times; try again later")


def _with_calibration(header: BankHeader, calibration: Mapping[str, Any]) -> BankHeader:
    return replace(header, settings={**header.settings, "calibration": dict(calibration)})


def _with_new_name(header: BankHeader, name: str, new: str) -> BankHeader | None:
    """Return the header with a new name of a task in the calibration; None if it has no calibration that names it."""
    calibration = header.settings.get("calibration")
    if not isinstance(calibration, dict) or not isinstance(names := calibration.get("candidates"), list):
        return None
    if name not in names:
        return None
    return _with_calibration(header, {**calibration, "candidates": [new if task == name else task for task in names]})
