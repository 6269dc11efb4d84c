"""A bank as a folder: a manifest, and one safetensors file a task.

    manifest.json               header, and name, file and SHA-256 of each task in the order of learning
    tasks/000000.safetensors    coded mask, owned and dense weights and buffers of the first task
    kept.safetensors            values of the backbone that no recipe brings back, if there are any
    memory-000001.safetensors   what the next task may begin with, after one task, if the method remembers anything

The manifest carries a digest of itself and of every file. Each file is written under another name, synced and renamed,
the manifest last: whenever the writer is stopped, the folder holds the bank as it was before or after. One process
writes at a time. All is written down in docs/format.md, so that other programs can read it.
"""

import os
import re
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path

from filelock import FileLock, Timeout
from safetensors.torch import save
from torch import Tensor

from supermasks.bank.bank import CACHE_BYTES, MaskBank, Stored, check_follows, check_spares, shortened
from supermasks.bank.bytes import BankBytes, measure
from supermasks.bank.files import read_file, sync_folder, write_file
from supermasks.bank.header import BankHeader
from supermasks.bank.manifest import KEPT, MANIFEST, FileEntry, Manifest, TaskEntry
from supermasks.bank.reader import BankReader
from supermasks.bank.task_file import encode_state
from supermasks.errors import BankBusyError, BankFormatError, SupermasksError
from supermasks.masks import Mask
from supermasks.network import Network, written_digest
from supermasks.state import TaskState
from supermasks.trial import check_answers

LOCK = ".lock"
SAME = ("fingerprint", "shapes", "norm", "head", "buffers")
"""What the headers of a bank in memory and in a folder have in common; how tasks are learned may have changed."""

DEEPEST = 8
"""So many tasks at most are read to read one, where masks are coded relative to each other."""


@dataclass(frozen=True)
class Problem:
    """What is wrong with a file of a bank.

    Attributes:
        file: its path in the folder.
        task: the name of the task that it belongs to; empty where it belongs to none.
        message: what is wrong.
    """

    file: str
    task: str
    message: str


class BankFolder:
    """A folder that holds a bank; tasks are appended to it one by one, by any number of processes.

    Args:
        path: of the folder, which need not exist.
        relative: code the mask of a task relative to that of the task before it, where that is shorter. Tasks with
            masks that resemble each other take fewer bytes, and longer to read.
        wait: for so many seconds, for another process to end its writing.
    """

    def __init__(self, path: str | os.PathLike[str], relative: bool = True, wait: float = 60.0) -> None:
        self.path, self.relative, self.wait = Path(path), relative, wait
        # The weights that some tasks keep: so many masks are not read for each task that is appended.
        self._union: tuple[tuple[TaskEntry, ...], Mask | None] = (), None

    def exists(self) -> bool:
        """Return whether there is a bank in the folder."""
        return (self.path / MANIFEST).exists()

    def create(self, header: BankHeader, kept: Mapping[str, Tensor] | None = None) -> None:
        """Start an empty bank.

        Args:
            header: what its tasks are learned over.
            kept: the values of the backbone that no recipe brings back (`Network.kept`).

        Raises:
            BankFormatError: the folder holds a bank already, or cannot be made.
            BankBusyError: another process writes into it.
        """
        try:
            (self.path / "tasks").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BankFormatError(f"{self.path} cannot hold a bank: {error}; choose another folder") from error
        with self._lock():
            if self.exists():
                raise BankFormatError(
                    f"{self.path} holds a bank already; choose another folder, or append to that bank"
                )
            Manifest(header, kept=self._write_tensors(KEPT, kept)).write(self.path)
            sync_folder(self.path.parent)

    def append(self, state: TaskState, memory: Mapping[str, Tensor] | None = None) -> None:
        """Add one task behind the others; when this returns, it is on the disk.

        Args:
            state: of the task.
            memory: what the next task may begin with; it takes the place of what was remembered before.

        Raises:
            BankFormatError: there is no readable bank in the folder.
            BankBusyError: another process writes into it.
            LabelError: a class label cannot be stored.
            DuplicateTaskError: the bank has a task of this name.
            MaskError: the mask is not over the parameters of this bank, the task was learned over weights that the
                tasks of the bank do not leave, or it would change weights that one of them uses.
        """
        with self._lock():
            manifest = Manifest.read(self.path)
            self._write_manifest(self._with_memory(self._with_task(manifest, state), memory))

    def save(self, bank: MaskBank) -> None:
        """Make the folder hold this bank: created if there is none, otherwise only new tasks are appended.

        Raises:
            BankFormatError: the folder holds a bank that is not a beginning of this one; it is left as it is.
            BankBusyError: another process writes into it.
            LabelError: a class label cannot be stored; the folder is left as it is.
        """
        if not self.exists():
            for state in bank:
                encode_state(state, bank.header)  # refuses labels before anything is written
            self.create(bank.header, bank.kept)
        self._save(bank)

    def _save(self, bank: MaskBank) -> None:
        with self._lock():
            manifest, names = Manifest.read(self.path), bank.names
            stored = self._bank(manifest)
            if any(getattr(manifest.header, part) != getattr(bank.header, part) for part in SAME):
                raise BankFormatError(f"{self.path} holds another bank, over another base; choose another folder")
            if others := [
                entry.name
                for entry, name in zip_longest(manifest.tasks, names[: len(stored)])
                if entry.name != name
                or not (entry.sha256 == bank.digest(name) or _same(stored[name], bank[name], manifest.header))
            ]:
                raise BankFormatError(
                    f"{self.path} holds another bank, with tasks that this one lacks, or has elsewhere: "
                    f"{shortened(others)}; choose another folder, load that bank and learn over it, or change it task "
                    "by task with BankFolder's append, remove and rename"
                )
            new = [bank[name] for name in names[len(stored) :]]
            for state in new:
                encode_state(state, manifest.header)
            # Settings may have changed.
            manifest = replace(manifest, header=replace(manifest.header, settings=bank.header.settings))
            for state in new:
                # Task by task: who is stopped loses none of those before.
                manifest = self._with_task(manifest, state)
                self._write_manifest(manifest)
            self._write_manifest(self._with_memory(manifest, bank.memory))

    def header(self) -> BankHeader:
        """Return what the bank was learned over.

        Raises:
            BankFormatError: there is no bank in the folder, or its manifest is damaged.
        """
        return Manifest.read(self.path).header

    def open(self, cache_bytes: int = CACHE_BYTES) -> MaskBank:
        """Return the bank; a task is read, and checked against its digest, when it is asked for.

        Args:
            cache_bytes: how much of what was read stays in memory.

        Raises:
            BankFormatError: the manifest, or the values that are kept beside it, are missing, truncated or altered.
        """
        return self._bank(Manifest.read(self.path), cache_bytes)

    def read(self) -> MaskBank:
        """Return the bank, every task of it read and checked against its digest.

        Raises:
            BankFormatError: a file is missing, truncated or altered.
        """
        stored = self.open()
        bank = MaskBank(stored.header, stored.kept)
        bank.memory = stored.memory
        for state in stored:
            bank.add(state)
        return bank

    def sizes(self) -> dict[str, int]:
        """Return the bytes on disk of each file, by its path in the folder.

        Raises:
            BankFormatError: a file is missing.
        """
        try:
            return {file: (self.path / file).stat().st_size for file in _files(Manifest.read(self.path))}
        except OSError as error:
            raise BankFormatError(f"{self.path} is not complete: {error}; restore it from a copy") from error

    def bytes(self) -> BankBytes:
        """Return what the bank takes on disk, item by item; every task is read.

        Raises:
            BankFormatError: a file is missing, truncated or altered.
        """
        manifest, sizes = Manifest.read(self.path), self.sizes()
        bank = self._bank(manifest, cache_bytes=0)
        files = (
            (bank[entry.name], read_file(self.path / entry.file, entry.sha256, f"task {entry.name!r}"))
            for entry in manifest.tasks
        )
        return measure(files, manifest=sizes[MANIFEST], kept=bank.kept, memory=bank.memory)

    def rename(self, name: str, new: str) -> None:
        """Give a task another name.

        Raises:
            what `MaskBank.rename` raises.
            BankFormatError: the bank cannot be read.
            BankBusyError: another process writes into it.
        """
        with self._lock():
            manifest = Manifest.read(self.path)
            self._bank(manifest).rename(name, new)
            self._write_manifest(
                replace(
                    manifest,
                    tasks=tuple(replace(entry, name=new) if entry.name == name else entry for entry in manifest.tasks),
                )
            )

    def remove(self, name: str) -> None:
        """Take a task out of the bank, and its file off the disk.

        Raises:
            what `MaskBank.remove` raises.
            BankFormatError: the bank cannot be read.
            BankBusyError: another process writes into it.
        """
        with self._lock():
            manifest = Manifest.read(self.path)
            bank = self._bank(manifest)
            bank.remove(name)
            changed = self._without(manifest, name, bank)
            self._write_manifest(changed, {entry.file for entry in manifest.tasks} - {e.file for e in changed.tasks})

    def verify(self, network: Network | None = None) -> list[Problem]:
        """Read every file, and return what is wrong with the bank; an empty list says that it is sound.

        Args:
            network: also check that the bank was learned over its weights, that each task fits it, and answers as it
                did when it was learned.

        Raises:
            BankFormatError: there is no bank, or its manifest is damaged.
            BaseMismatchError: the bank was learned over other weights than those of the network.
        """
        manifest = Manifest.read(self.path)
        bank, problems = self._bank(manifest, kept=False), list[Problem]()
        if network is not None:
            manifest.header.check(network)
        for entry in (manifest.kept, manifest.memory):
            try:
                BankReader(self.path, manifest).tensors(entry)
            except SupermasksError as error:
                assert entry is not None  # without an entry nothing is read
                problems.append(Problem(entry.file, "", str(error)))
        after: dict[str, str] = {}
        union = Mask.union((), manifest.header.shapes)
        for entry in manifest.tasks:
            try:
                state = bank[entry.name]
                check_follows(state, after, manifest.header)
                check_spares(state, union)
                if entry.after != written_digest(state, manifest.header.fingerprint):
                    raise BankFormatError(f"{self.path / entry.file} owns other weights than the manifest says")
                if network is not None:
                    network = network.writing(state)
                    network.check(state)
                    check_answers(network, state)
                after[entry.name] = entry.after
                union = Mask.union([union, state.mask], manifest.header.shapes)
            except SupermasksError as error:
                problems.append(Problem(entry.file, entry.name, str(error)))
        return problems

    def repair(self) -> list[Problem]:
        """Drop from the bank what `verify` finds broken, and nothing else; return what was dropped.

        A task that cannot be read is taken out, and with it those that cannot do without it: whose mask is coded
        relative to its own, or that were learned over weights which it owns. Their files stay, with the ending .broken.

        Raises:
            BankFormatError: the manifest is damaged, or the values that all tasks need; restore them from a copy.
        """
        with self._lock():
            manifest, problems = Manifest.read(self.path), self.verify()
            if any(problem.file == KEPT for problem in problems):
                raise BankFormatError(
                    f"{self.path / KEPT} is damaged, and no task can be used without it; restore it from a copy"
                )
            broken = {problem.file for problem in problems}
            for file in broken:
                if (self.path / file).exists():
                    os.replace(self.path / file, self.path / f"{file}.broken")
            if problems:
                memory = None if manifest.memory is not None and manifest.memory.file in broken else manifest.memory
                tasks = tuple(entry for entry in manifest.tasks if entry.file not in broken)
                self._write_manifest(replace(manifest, tasks=tasks, memory=memory))
            return problems

    def _bank(self, manifest: Manifest, cache_bytes: int = CACHE_BYTES, kept: bool = True) -> MaskBank:
        reader = BankReader(self.path, manifest)
        stored = Stored(
            {name: entry.after for name, entry in reader.entries.items()},
            {name: entry.sha256 for name, entry in reader.entries.items()},
            reader.task,
            reader.memory,
            self._union[1] if self._union[0] == manifest.tasks else None,
        )
        return MaskBank(manifest.header, reader.tensors(manifest.kept) if kept else None, stored, cache_bytes)

    def _write_tensors(self, file: str, tensors: Mapping[str, Tensor] | None) -> FileEntry | None:
        if not tensors:
            return None
        content = save({name: tensor.contiguous() for name, tensor in tensors.items()})
        return FileEntry(file, write_file(self.path / file, content))

    def _with_task(self, manifest: Manifest, state: TaskState) -> Manifest:
        """Write the file of a task that follows the others, and return the manifest that names it."""
        bank = self._bank(manifest, kept=False)
        last = manifest.tasks[-1] if manifest.tasks else None
        reference = self._reference(bank, manifest, last)
        bank.add(state)  # refuses what does not fit
        content, relative = encode_state(state, manifest.header, reference)
        file = f"tasks/{self._next_number(manifest):06d}.safetensors"
        digest = write_file(self.path / file, content)
        entry = TaskEntry(file, digest, state.name, last.file if relative and last else "", bank.after(state.name))
        tasks = (*manifest.tasks, entry)
        self._union = tasks, bank.known_union
        return replace(manifest, tasks=tasks)

    def _reference(self, bank: MaskBank, manifest: Manifest, last: TaskEntry | None) -> Mask | None:
        """Return the mask that one behind it may be coded relative to."""
        if not self.relative or last is None or len(BankReader(self.path, manifest).chain(last)) >= DEEPEST:
            return None
        try:
            return bank[last.name].mask
        except BankFormatError:  # a damaged task is no reason to refuse another, which does without it
            return None

    def _next_number(self, manifest: Manifest, *others: TaskEntry) -> int:
        """Return a number that no file of a task has, nor one that was put aside."""
        names = [entry.file for entry in (*manifest.tasks, *others)]
        names += [file.name for file in self.path.glob("tasks/*.broken")]
        return max(map(_number, names), default=-1) + 1

    def _with_memory(self, manifest: Manifest, memory: Mapping[str, Tensor] | None) -> Manifest:
        # A file of its own: the one before is whole until the manifest names the new one.
        number = self._next_number(manifest)
        if manifest.memory is not None:
            number = max(number, _number(manifest.memory.file) + 1)
        file = f"memory-{number:06d}.safetensors"
        return replace(manifest, memory=self._write_tensors(file, memory))

    def _without(self, manifest: Manifest, name: str, bank: MaskBank) -> Manifest:
        """Return the manifest without a task; masks that were coded relative to its own are written anew."""
        gone, left = next(entry.file for entry in manifest.tasks if entry.name == name), list[TaskEntry]()
        moved = dict[str, str]()
        for entry in manifest.tasks:
            if entry.name == name:
                continue
            if entry.reference == gone:
                content, _ = encode_state(bank[entry.name], manifest.header)
                moved[entry.file] = f"tasks/{self._next_number(manifest, *left):06d}.safetensors"
                digest = write_file(self.path / moved[entry.file], content)
                left.append(replace(entry, file=moved[entry.file], sha256=digest, reference=""))
            else:
                left.append(replace(entry, reference=moved.get(entry.reference, entry.reference)))
        return replace(manifest, tasks=tuple(left))

    def _write_manifest(self, manifest: Manifest, gone: Iterable[str] = ()) -> None:
        """Write the manifest, and remove the files that it no longer names, or that a writer was stopped at."""
        manifest.write(self.path)
        memory = {self.path / manifest.memory.file} if manifest.memory is not None else set[Path]()
        stale = {*self.path.glob("memory-*.safetensors")} - memory
        for file in (*stale, *self.path.glob("*.partial"), *self.path.glob("tasks/*.partial")):
            file.unlink(missing_ok=True)
        for file in gone:
            (self.path / file).unlink(missing_ok=True)

    @contextmanager
    def _lock(self) -> Generator[None]:
        """Let no other process write; the system lifts the lock of a process that dies."""
        if not self.path.is_dir():
            raise BankFormatError(f"there is no bank in {self.path}: it is no folder; is this the right one?")
        try:
            # Made anew: a lock can be neither copied nor used in a forked process.
            with FileLock(self.path / LOCK).acquire(self.wait):
                yield
        except Timeout:
            raise BankBusyError(
                f"another process has been writing into {self.path} for {self.wait:g} seconds; try again later"
            ) from None


def _same(ours: TaskState, theirs: TaskState, header: BankHeader) -> bool:
    return encode_state(ours, header)[0] == encode_state(theirs, header)[0]


def _files(manifest: Manifest) -> Iterator[str]:
    yield MANIFEST
    yield from (entry.file for entry in (*manifest.tasks, manifest.kept, manifest.memory) if entry is not None)


def _number(file: str) -> int:
    return int(re.findall(r"\d+", file)[0])
