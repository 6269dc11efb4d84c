"""Changes the bank in a folder; only the process that holds its lock does this."""

import hashlib
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from supermasks.bank.files import PARTIAL, storage, sync_folder, write_file
from supermasks.bank.header import MOST_WEIGHTS, BankHeader
from supermasks.bank.manifest import COUNTED, DEEPEST, KEPT, MANIFEST, WRITTEN, FileEntry, Manifest, TaskEntry
from supermasks.bank.reader import BankReader
from supermasks.bank.succession import Succession
from supermasks.changes import Change
from supermasks.encoding import encode_state, encode_tensors
from supermasks.errors import BankFormatError, StorageError, TaskError
from supermasks.masks import Mask
from supermasks.moments import Moments
from supermasks.state import TaskState

TASKS = "tasks"

_REPLACED = re.compile(r"(?:memory|weights|moments)-[0-9]{6,12}\.safetensors")
_OF_A_TASK = re.compile(r"([0-9]{6,12})\.safetensors(?:\..*)?")
_OF_ALL = re.compile(r"(?:memory|weights|moments|kept)-([0-9]{6,12})\.safetensors(?:\..*)?")
_HIGHEST = 10**12 - 1


class BankWriter:
    """Writes new files, then the manifest that names them, and then removes the files that it no longer names.

    Attributes:
        order: what a new task has to fit.

    Args:
        path: of the folder.
        manifest: the one in the folder, or that of a new bank.
        relative: code masks relative to each other, where that is shorter.
        most_weights: masks over more weights are not read, unless a task is added that has as many.
        union: of the masks of all tasks, if known.
    """

    def __init__(
        self,
        path: Path,
        manifest: Manifest,
        relative: bool = True,
        most_weights: int = MOST_WEIGHTS,
        union: Mask | None = None,
    ) -> None:
        self.order = Succession(manifest.header, BankReader(path, manifest).after, union)
        self._path, self._relative, self._most_weights = path, relative, most_weights
        self._manifest = self._on_disk = manifest
        self._tasks = list(manifest.tasks)
        self._last: tuple[Mapping[str, Change], int] | None = (
            None  # of the last task, and how many tasks must be read to read it
        )
        self._new = list[str]()  # files that the manifest in the folder does not name yet
        self._dropped = set[str]()  # files that the manifest in the folder still names
        with storage(f"{path} cannot be read"):
            beside, inside = set(os.listdir(path)), set(os.listdir(path / TASKS))
        self._kept_is_there = KEPT in beside
        self._partial = [f"{TASKS}/{name}" for name in inside if name.endswith(PARTIAL)]
        self._partial += [name for name in beside if name.endswith(PARTIAL)]
        # To be removed: what the last change did not get to, and memory or weights that no manifest names.
        self._gone = {file for file in manifest.gone if file in beside or file[len(TASKS) + 1 :] in inside}
        self._gone |= {*filter(_REPLACED.fullmatch, beside)}
        if self._gone:
            self._gone -= {*manifest.files()}
        # Higher than every number in the folder: files that no manifest names are not ours to overwrite.
        inside.update([entry.file[len(TASKS) + 1 :] for entry in manifest.tasks])
        self._next_task = _after_all(inside, _OF_A_TASK)
        self._next = _after_all(beside, _OF_ALL)

    @property
    def manifest(self) -> Manifest:
        """The manifest as `commit` will write it."""
        return replace(self._manifest, tasks=tuple(self._tasks))

    @property
    def on_disk(self) -> Manifest:
        """The manifest that was last read or written."""
        return self._on_disk

    def add(self, state: TaskState) -> None:
        """Write the file of a task, and append the task.

        Raises:
            everything that `Succession.check` and `encode_state` raise.
            TaskError: the file would be too large to read.
            StorageError: it cannot be written.
        """
        self.order.check(state, self._masks)
        before, depth = self._reference()
        content, relative = encode_state(state, self._manifest.header.layout, before)
        reference = self._tasks[-1].file if relative else ""
        file, digest = self._write_task(content, state.name)
        self._tasks.append(TaskEntry(file, digest, state.name, reference, self.order.add(state)))
        self._last = state.changes, depth + 1 if relative else 1
        if state.means is not None:
            self._manifest = replace(self._manifest, version=COUNTED)

    def remember(self, memory: Mapping[str, Tensor]) -> None:
        """Write what the next task may begin with, replacing what is there."""
        entry = None
        if memory:
            content = encode_tensors(memory, "what is remembered as")
            entry = self._write_once(content, self._manifest.memory, "memory-{:06d}.safetensors")
        self._drop(self._manifest.memory, entry)
        self._manifest = replace(self._manifest, memory=entry)

    def share(self, weights: Mapping[str, Tensor]) -> None:
        """Write the shared weights that the last task left, replacing those that are there."""
        entry = None
        if weights:
            content = encode_tensors(weights, "shared weight")
            entry = self._write_once(content, self._manifest.weights, "weights-{:06d}.safetensors")
        self._drop(self._manifest.weights, entry)
        self._manifest = replace(self._manifest, weights=entry)

    def count(self, moments: Moments | None) -> None:
        """Write what the tasks share to recognise inputs by, replacing what is there."""
        entry = None
        if moments is not None:
            content = encode_tensors(moments.tensors(), "statistic")
            entry = self._write_once(content, self._manifest.moments, "moments-{:06d}.safetensors")
            self._manifest = replace(self._manifest, version=COUNTED)
        self._drop(self._manifest.moments, entry)
        self._manifest = replace(self._manifest, moments=entry)

    def keep(self, kept: Mapping[str, Tensor]) -> None:
        """Write the values of the backbone that the recipe cannot rebuild, replacing those that are there."""
        entry = None
        if kept:
            content = encode_tensors(kept, "value of the backbone")
            entry = self._write_once(
                content, self._manifest.kept, "kept-{:06d}.safetensors" if self._kept_is_there else KEPT
            )
        self._drop(self._manifest.kept, entry)
        self._manifest = replace(self._manifest, kept=entry)

    def begin_anew(self, header: BankHeader, kept: Mapping[str, Tensor]) -> None:
        """Drop everything, and start another bank in its place."""
        self._dropped.update(entry.file for entry in self._tasks)
        self.order, self._tasks, self._last = Succession(header), [], None
        self._manifest = replace(self._manifest, header=header, version=WRITTEN)
        self.remember({})
        self.share({})
        self.count(None)
        self.keep(kept)

    def change_settings(self, header: BankHeader) -> None:
        """Change how tasks are learned and recognised from now on."""
        self._manifest = replace(self._manifest, header=replace(self._manifest.header, settings=header.settings))

    def rename(self, name: str, new: str) -> None:
        """Give a task another name."""
        self.order.rename(name, new)
        self._tasks = [entry._replace(name=new) if entry.name == name else entry for entry in self._tasks]

    def drop(self, files: Collection[str]) -> None:
        """Take out the tasks of these files; masks coded relative to one of them are written anew.

        Raises:
            BankFormatError: one of those masks cannot be read.
            StorageError: its file cannot be read, or the new one cannot be written.
        """
        reader, left, moved = self._reader(), list[TaskEntry](), dict[str, str]()
        for entry in self._tasks:
            if entry.file in files:
                self._dropped.add(entry.file)
                continue
            if entry.reference in files:
                self._manifest.header.check_size(self._most_weights)
                content, _ = encode_state(reader.state(entry), self._manifest.header.layout)
                moved[entry.file], digest = self._write_task(content, entry.name)
                self._dropped.add(entry.file)
                left.append(entry._replace(file=moved[entry.file], sha256=digest, reference=""))
            else:
                left.append(entry._replace(reference=moved.get(entry.reference, entry.reference)))
        self._tasks, self._last = left, None
        self.order = Succession(self._manifest.header, {entry.name: entry.after for entry in left})

    def unlisted(self) -> int:
        """Return how many tasks the manifest in the folder does not name yet."""
        return len(self._tasks) - len(self._on_disk.tasks)

    def commit(self, aside: Collection[str] = (), new: bool = False) -> None:
        """Write the manifest if it changed, and remove the files that it no longer names.

        Args:
            aside: files that are renamed, with the ending .broken, instead of removed.
            new: the folder has no manifest yet.

        Raises:
            StorageError: the manifest cannot be written, and the bank is as it was before; or the files of tasks that
                were taken out cannot be removed, and the next change removes them.
        """
        manifest = self.manifest
        dropped = self._dropped - {*aside}
        if new or manifest != replace(self._on_disk, gone=manifest.gone):
            self._sync()
            gone = tuple(sorted((self._gone | dropped) - {*aside}))
            self._on_disk = self._manifest = replace(manifest, gone=gone).write(self._path)
        self._new.clear()
        self._dropped.clear()
        for file in aside:
            with storage(f"{self._path / file} cannot be put aside"), suppress(FileNotFoundError):
                os.replace(self._path / file, self._path / f"{file}.broken")
        failed = self._remove((self._gone | dropped) - {*aside})
        self._gone = set(failed)
        for file in (file for file in dropped if file in failed and file.startswith(TASKS)):
            raise StorageError(
                f"the task is no longer in the bank, but its file {self._path / file} cannot be removed: "
                f"{failed[file]}; the next change of the bank removes it"
            ) from failed[file]

    def give_up(self) -> None:
        """Remove the new files that the manifest does not name."""
        with suppress(BankFormatError, OSError):
            named = {*Manifest.read(self._path).files()} if (self._path / MANIFEST).exists() else set[str]()
            for file in {*self._new} - named:
                (self._path / file).unlink(missing_ok=True)

    def _sync(self) -> None:
        """Make the new files survive a power cut, before the manifest names them."""
        with storage(f"{self._path} cannot be written"):
            for folder in {(self._path / file).parent for file in self._new}:
                sync_folder(folder)

    def _remove(self, files: Iterable[str]) -> dict[str, OSError]:
        """Remove files, and those of interrupted writers; return which cannot be removed, and why."""
        failed = dict[str, OSError]()
        for file in files:
            try:
                (self._path / file).unlink(missing_ok=True)
            except OSError as error:
                failed[file] = error
        for file in self._partial:
            with suppress(OSError):
                (self._path / file).unlink()
        return failed

    def _drop(self, before: FileEntry | None, after: FileEntry | None) -> None:
        """Note that the file `before` is no longer needed, unless `after` is the same."""
        if before is not None and before != after:
            self._dropped.add(before.file)

    def _reader(self) -> BankReader:
        return BankReader(self._path, self.manifest)

    def _masks(self) -> Iterator[Mask]:
        reader = self._reader()
        return (reader.state(entry).uses(self._manifest.header.shapes) for entry in reader.manifest.tasks)

    def _reference(self) -> tuple[Mapping[str, Change] | None, int]:
        """Return what the next task may be coded relative to, and how many tasks must be read to read that."""
        if not self._relative or not self._tasks:
            return None, 0
        if self._last is None:
            reader, last = self._reader(), self._tasks[-1]
            depth = len(reader.chain(last))
            if depth >= DEEPEST:
                return None, depth
            try:
                self._last = reader.state(last).changes, depth
            except (BankFormatError, StorageError):  # the new task is then coded without a reference
                return None, depth
        before, depth = self._last
        return (before if depth < DEEPEST else None), depth

    def _write_task(self, content: bytes, name: str) -> tuple[str, str]:
        """Write the file of a task; return its path in the folder, and its digest."""
        if self._next_task > _HIGHEST:
            raise BankFormatError(
                f"{self._path / TASKS} has a file with the highest possible number; move that file to another folder"
            )
        file = f"{TASKS}/{self._next_task:06d}.safetensors"
        self._next_task += 1
        return file, self._write(file, content, self._manifest.header.most_bytes(), f"task {name!r}")

    def _write_once(self, content: bytes, before: FileEntry | None, file: str) -> FileEntry:
        """Write a file, unless the earlier one has the same content."""
        if before is not None and hashlib.sha256(content).hexdigest() == before.sha256:
            return before
        # The number tells after how many tasks the file was written.
        file = file.format(max(self._next_task, self._next))
        self._next = max(self._next_task, self._next) + 1
        return FileEntry(file, self._write(file, content, 4 * self._manifest.header.most_bytes(), file))

    def _write(self, file: str, content: bytes, most: int, what: str) -> str:
        if len(content) > most:
            raise TaskError(f"expected {what} to take at most {most:,} bytes, got {len(content):,}; keep fewer values")
        self._new.append(file)
        return write_file(self._path / file, content, sync=False)


def _after_all(names: Iterable[str], pattern: re.Pattern[str]) -> int:
    """Return a number that is higher than those in the names."""
    return max((int(found[1]) for found in map(pattern.fullmatch, names) if found), default=-1) + 1
