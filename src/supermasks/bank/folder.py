"""A bank as a folder: a manifest, and one safetensors file a task.

    manifest.json               header, and name, file and SHA-256 of each task in the order of learning
    tasks/000000.safetensors    changes, owned weights and buffers of the first task
    kept.safetensors            values of the backbone that the recipe cannot rebuild, if there are any
    memory-000001.safetensors   what the next task may begin with, after one task, if the method remembers anything
    weights-000001.safetensors  the shared weights after one task, if the method trains all of them
    moments-000001.safetensors  what one task leaves to recognise its inputs by, if a router counted it

The manifest has a digest of itself and of every file. Each file is written under a temporary name, synced and renamed,
the manifest last: if the writer is interrupted, the folder holds the bank as it was before or after the change. One
process writes at a time. docs/format.md describes the format for other programs.
"""

import os
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from itertools import zip_longest
from typing import TypeVar

from torch import Tensor

from supermasks.bank.bank import CACHE_BYTES, MaskBank, Stored, owner_stays, shortened, unknown_task
from supermasks.bank.bytes import BankBytes, measure
from supermasks.bank.check import Problem, find_problems, rename_odd
from supermasks.bank.counting import with_task
from supermasks.bank.files import as_path, storage, sync_folder
from supermasks.bank.header import MOST_WEIGHTS, BankHeader
from supermasks.bank.lock import locked
from supermasks.bank.manifest import DEEPEST, MANIFEST, Manifest, TaskEntry
from supermasks.bank.reader import BankReader
from supermasks.bank.succession import check_left, require_new
from supermasks.bank.writer import TASKS, BankWriter
from supermasks.encoding import check_storable, encode_state
from supermasks.errors import BankBusyError, BankFormatError, StorageError
from supermasks.masks import Mask
from supermasks.moments import Moments
from supermasks.network import Network
from supermasks.state import TaskState
from supermasks.task_info import check_name

__all__ = ["DEEPEST", "BankFolder", "Problem"]

SAME = ("fingerprint", "shapes", "norm", "head", "buffers")
"""What the headers of a bank in memory and in a folder must share; the settings may differ."""

TRIES = 20
"""How often to read a bank that another process keeps changing."""

Found = TypeVar("Found")


class BankFolder:
    """A bank in a folder. Any number of processes may append tasks, one at a time.

    Args:
        path: of the folder; it need not exist.
        relative: code the mask of a task relative to the mask of the task before, where that is shorter. Similar masks
            then take fewer bytes, but longer to read.
        wait: how many seconds to wait while another process writes.
        most_weights: masks over more weights are only read with a network that has as many, since a damaged file could
            claim any number.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        relative: bool = True,
        wait: float = 60.0,
        most_weights: int = MOST_WEIGHTS,
    ) -> None:
        self.path, self.relative, self.wait, self.most_weights = as_path(path), relative, wait, most_weights
        # The weights that tasks keep, with the digest of the manifest that this holds for, so that appending a task
        # need not read all masks.
        self._union: tuple[str, Mask | None] = "", None

    def exists(self) -> bool:
        """Return whether there is a bank in the folder.

        Raises:
            StorageError: the folder cannot be read.
        """
        with storage(f"{self.path} cannot be read"):
            return (self.path / MANIFEST).exists()

    def create(self, header: BankHeader, kept: Mapping[str, Tensor] | None = None) -> None:
        """Start an empty bank.

        Args:
            header: what its tasks are learned over.
            kept: the values of the backbone that the recipe cannot rebuild (`Network.kept`).

        Raises:
            BankFormatError: the folder already holds a bank.
            StorageError: the folder cannot be made, or written to.
            BankBusyError: another process writes into it.
        """
        with storage(f"{self.path} cannot hold a bank"):
            if self.path.exists() and not self.path.is_dir():
                raise BankFormatError(f"{self.path} cannot hold a bank: it is a file; choose another folder")
            (self.path / TASKS).mkdir(parents=True, exist_ok=True)
        with locked(self.path, self.wait):
            if self.exists():
                raise BankFormatError(
                    f"{self.path} already holds a bank; choose another folder, or append to that bank"
                )
            with self._writing(Manifest(header)) as writer:
                writer.keep(kept or {})
                writer.commit(new=True)
            with storage(f"{self.path} cannot be written"):
                sync_folder(self.path.parent)

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
            moments: what was counted of this task, if it was. They are added to those in the folder, or replace them
                if they hold all tasks that were counted there.

        Raises:
            BankFormatError: the folder holds no readable bank.
            StorageError: the bank cannot be read or written; it stays as it was.
            BankBusyError: another process writes into it.
            LabelError: a class label cannot be stored.
            TaskError: another value of the task cannot be stored.
            DuplicateTaskError: the bank has a task of this name.
            MaskError: the task changes other parameters than the bank's, was learned over other weights than its
                tasks leave, or would change weights that one of them uses. The moments are not those of this task.
            BaseMismatchError: other features were counted than of the tasks in the folder.
        """
        with self._changing() as writer:
            check_left(state, weights)
            writer.add(state)
            if memory is not None:
                writer.remember(memory)
            if weights is not None:
                writer.share(weights)
            if state.means is not None or moments is not None:  # otherwise stored moments are not read
                writer.count(with_task(BankReader(self.path, writer.on_disk).moments(), state, moments))
            writer.commit()

    def save(self, bank: MaskBank, overwrite: bool = False) -> None:
        """Make the folder hold this bank: create it, or append the tasks that the folder lacks.

        If the bank has no memory or no moments, those in the folder stay.

        Args:
            bank: to save.
            overwrite: replace another bank in the folder. The replacement happens at once, at the end, and only files
                of the other bank are removed.

        Raises:
            BankFormatError: the folder holds a bank that does not match the first tasks of this one; it stays.
            StorageError: the folder cannot be read or written. It may then have some of the new tasks; a bank that was
                to be replaced stays.
            BankBusyError: another process writes into it.
            LabelError: a class label cannot be stored; the folder stays as it was.
            TaskError: another value of a task cannot be stored; the folder stays as it was.
        """
        if not self.exists():
            for state in bank:
                check_storable(state)  # before anything is written
            self.create(bank.header, bank.kept)
        with self._changing() as writer:
            difference = self._difference(writer.on_disk, bank, overwrite)
            if difference and not overwrite:
                raise BankFormatError(
                    f"{self.path} holds another bank, {difference}; pass overwrite=True to replace it, choose another "
                    "folder, load that bank and learn over it, or change it task by task with BankFolder's append, "
                    "remove and rename"
                )
            new = bank.names if difference else bank.names[len(writer.on_disk.tasks) :]
            for name in new:
                check_storable(bank[name])
            if difference:
                writer.begin_anew(bank.header, bank.kept)
            else:
                writer.change_settings(bank.header)
            if bank.moments is not None:  # before the tasks, so that each is recognised as soon as it is there
                writer.count(bank.moments)
            for name in new:
                writer.add(bank[name])
                # Now and then, so that an interrupted save loses few tasks. The larger the manifest, the more rarely,
                # so that the total time is proportional to the number of tasks.
                # Not where tasks have trained all shared weights: only the last weights are known.
                if not difference and not bank.shares and 10 * writer.unlisted() >= len(writer.on_disk.tasks):
                    writer.commit()
            if bank.remembers:
                writer.remember(bank.memory)
            if bank.shares:
                writer.share(bank.weights)
            writer.commit()
        bank.was_stored({entry.name: entry.sha256 for entry in writer.on_disk.tasks})
        if difference:  # what was not in memory may have been in files that are removed now
            bank.stored_in(self._stored(writer.on_disk))

    def header(self) -> BankHeader:
        """Return what the bank was learned over.

        Raises:
            BankFormatError: the folder holds no bank, or its manifest is damaged.
            StorageError: it cannot be read.
        """
        return Manifest.read(self.path).header

    def open(self, cache_bytes: int = CACHE_BYTES) -> MaskBank:
        """Return the bank; each task is read, and its digest checked, when it is first used.

        Args:
            cache_bytes: the most bytes of tasks to keep in memory.

        Raises:
            BankFormatError: the manifest or `kept.safetensors` is missing, truncated or altered.
            StorageError: they cannot be read.
        """

        def opened(manifest: Manifest) -> MaskBank:
            kept = BankReader(self.path, manifest).tensors(manifest.kept)
            return MaskBank(manifest.header, kept, self._stored(manifest), cache_bytes)

        return self._look(opened)

    def read(self) -> MaskBank:
        """Return the bank with every task in memory, and every digest checked.

        Raises:
            BankFormatError: a file is missing, truncated or altered.
            StorageError: a file cannot be read.
            BankBusyError: another process keeps changing the bank.
        """

        def read(manifest: Manifest) -> MaskBank:
            manifest.header.check_size(self.most_weights)
            reader = BankReader(self.path, manifest)
            bank = MaskBank(manifest.header, reader.tensors(manifest.kept))
            bank.memory = reader.memory()
            for name in reader.entries:
                bank.add(reader.task(name), reader.weights() or None)
            if manifest.moments is not None:
                bank.count(reader.moments(), {})
            bank.was_stored({entry.name: entry.sha256 for entry in manifest.tasks})
            return bank

        return self._look(read)

    def sizes(self) -> dict[str, int]:
        """Return the bytes on disk of each file, by its path in the folder.

        Raises:
            BankFormatError: a file is missing.
            StorageError: a file cannot be accessed.
        """
        return self._look(self._sizes)

    def task_sizes(self) -> dict[str, int]:
        """Return the bytes on disk of each task, by its name.

        Raises:
            BankFormatError: a file is missing.
            StorageError: a file cannot be accessed.
        """

        def by_name(manifest: Manifest) -> dict[str, int]:
            sizes = self._sizes(manifest)
            return {name: sizes[entry.file] for name, entry in BankReader(self.path, manifest).entries.items()}

        return self._look(by_name)

    def bytes(self) -> BankBytes:
        """Return the bytes on disk, item by item; this reads every task.

        Raises:
            BankFormatError: a file is missing, truncated or altered.
            StorageError: a file cannot be read.
            BankBusyError: another process keeps changing the bank.
        """

        def measured(manifest: Manifest) -> BankBytes:
            manifest.header.check_size(self.most_weights)
            reader, sizes = BankReader(self.path, manifest), self._sizes(manifest)
            files = ((reader.task(entry.name), reader.content(entry)) for entry in manifest.tasks)
            kept, weights = reader.tensors(manifest.kept), reader.weights()
            return measure(files, sizes[MANIFEST], kept, reader.memory(), weights, reader.moments())

        return self._look(measured)

    def rename(self, name: str, new: str) -> None:
        """Give a task another name.

        Raises:
            SupermasksError: everything that `MaskBank.rename` raises.
            BankFormatError: the folder holds no readable bank.
            StorageError: the bank cannot be read or written; it stays as it was.
            BankBusyError: another process writes into it.
        """
        with self._changing() as writer:
            self._entry(writer, name)
            check_name(new)
            if new != name:
                require_new(new, writer.order.after)
                writer.rename(name, new)
            writer.commit()

    def remove(self, name: str) -> None:
        """Remove a task from the bank, and its file from the disk.

        Raises:
            SupermasksError: everything that `MaskBank.remove` raises.
            BankFormatError: the folder holds no readable bank, or a mask that is coded relative to the task's mask
                cannot be read.
            StorageError: the bank cannot be read or written, and stays as it was; or the file cannot be removed, and
                the next change of the bank removes it.
            BankBusyError: another process writes into it.
        """
        with self._changing() as writer:
            entry = self._entry(writer, name)
            if entry.after:
                raise owner_stays(name)
            writer.drop({entry.file})
            writer.commit()

    def verify(self, network: Network | None = None) -> list[Problem]:
        """Read every file, and return what is wrong with the bank; an empty list means that it is sound.

        Args:
            network: if given, also check that the bank was learned over its weights, that each task fits it, and that
                each task gives the answers that it gave when it was learned.

        Raises:
            BankFormatError: the folder holds no bank, or its manifest is damaged.
            StorageError: the manifest cannot be read.
            BankBusyError: another process keeps changing the bank.
            BaseMismatchError: the bank was learned over weights that differ from the network's.
        """
        return self._look(lambda manifest: self._problems(manifest, network), sound=lambda problems: not problems)

    def repair(self) -> list[Problem]:
        """Remove from the bank what `verify` finds broken, and nothing else; return what was removed.

        A broken task is removed, and so are the tasks that depend on it: those whose masks cannot be read without it,
        and those learned over weights that it owns. Their files stay, with the ending .broken. A task with an invalid
        name gets another one.

        Raises:
            BankFormatError: the manifest or a file that all tasks need is damaged; restore it from a copy.
            StorageError: a file cannot be read now, though it may be sound; or the bank cannot be written. The bank
                stays as it was.
            BankBusyError: another process writes into it.
        """
        with self._changing() as writer:
            renamed = list(rename_odd(writer))
            manifest = writer.manifest
            problems = self._problems(manifest)
            for problem in problems:
                if problem.unread:
                    raise StorageError(f"nothing was repaired: a file cannot be read now. {problem.message}")
                if problem.file in (entry.file for entry in (manifest.kept, manifest.weights) if entry is not None):
                    raise BankFormatError(
                        f"{self.path / problem.file} is damaged, and all tasks need it; restore it from a copy"
                    )
            broken = {problem.file for problem in problems}
            if broken:
                writer.drop(broken)
            if manifest.memory is not None and manifest.memory.file in broken:
                writer.remember({})
            if manifest.moments is not None and manifest.moments.file in broken:
                writer.count(None)
            writer.commit(aside=broken)
            return renamed + problems

    def _problems(self, manifest: Manifest, network: Network | None = None) -> list[Problem]:
        if network is None:
            manifest.header.check_size(self.most_weights)
        return find_problems(BankReader(self.path, manifest), network)

    def _difference(self, manifest: Manifest, bank: MaskBank, overwrite: bool) -> str:
        """Return why the bank in the folder does not match the first tasks of another bank; empty if it does."""
        if any(getattr(manifest.header, part) != getattr(bank.header, part) for part in SAME):
            return "over another base"
        reader, others = BankReader(self.path, manifest), list[str]()
        try:
            for entry, name in zip_longest(manifest.tasks, bank.names[: len(manifest.tasks)]):
                if entry.name != name or not (
                    entry.sha256 == bank.digest(name) or _same(reader.task(name), bank[name], manifest.header)
                ):
                    others.append(entry.name)
        except BankFormatError:
            if not overwrite:
                raise
            return "which is damaged"
        return f"with tasks that this one lacks, or has in another place: {shortened(others)}" if others else ""

    def _sizes(self, manifest: Manifest) -> dict[str, int]:
        try:
            with storage(f"{self.path} cannot be read", passing=(FileNotFoundError,)):
                return {file: (self.path / file).stat().st_size for file in (MANIFEST, *manifest.files())}
        except FileNotFoundError as error:
            raise BankFormatError(f"{self.path} is not complete: {error}; restore it from a copy") from error

    def _stored(self, manifest: Manifest) -> Stored:
        reader = BankReader(self.path, manifest)
        return Stored(
            reader.after,
            {entry.name: entry.sha256 for entry in manifest.tasks},
            reader.task,
            reader.memory if manifest.memory is not None else None,
            reader.weights if manifest.weights is not None else None,
            reader.moments if manifest.moments is not None else None,
            union=self._known_union(manifest),
            most_weights=self.most_weights,
        )

    def _known_union(self, manifest: Manifest) -> Mask | None:
        digest, union = self._union
        return union if digest and digest == manifest.digest else None

    def _entry(self, writer: BankWriter, name: str) -> TaskEntry:
        for entry in writer.manifest.tasks:
            if entry.name == name:
                return entry
        raise unknown_task(name, list(writer.order.after))

    def _look(self, find: Callable[[Manifest], Found], sound: Callable[[Found], bool] = lambda _: True) -> Found:
        """Return what is found in the files of the bank; look again if another process changed it meanwhile.

        Args:
            find: reads the files that the manifest names.
            sound: whether the result needs no second look.
        """
        for _ in range(TRIES):
            manifest = Manifest.read(self.path)
            found, error = list[Found](), None
            try:
                found.append(find(manifest))
            except BankFormatError as refused:
                error = refused
            if found and sound(found[0]):
                return found[0]
            if Manifest.read(self.path).digest == manifest.digest:
                if error is not None:
                    raise error
                return found[0]
        raise BankBusyError(f"another process changed {self.path} each of {TRIES} times it was read; try again later")

    @contextmanager
    def _changing(self) -> Generator[BankWriter]:
        """Lock the folder, and yield a writer for the bank in it."""
        with locked(self.path, self.wait), self._writing(Manifest.read(self.path)) as writer:
            yield writer

    @contextmanager
    def _writing(self, manifest: Manifest) -> Generator[BankWriter]:
        with storage(f"{self.path / TASKS} cannot be made"):
            if manifest.tasks and not (self.path / TASKS).exists():
                raise StorageError(f"{self.path / TASKS} is missing, with all its tasks; check the disk and the path")
            (self.path / TASKS).mkdir(exist_ok=True)
        union = self._known_union(manifest)
        writer = BankWriter(self.path, manifest, self.relative, self.most_weights, union)
        try:
            yield writer
        except BaseException:
            writer.give_up()
            raise
        self._union = writer.on_disk.digest, writer.order.union


def _same(ours: TaskState, theirs: TaskState, header: BankHeader) -> bool:
    return encode_state(ours, header.layout)[0] == encode_state(theirs, header.layout)[0]
