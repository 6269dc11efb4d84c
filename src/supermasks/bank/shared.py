"""A shared bank: a folder with a file for each task, and `manifest.json`, which lists them.

It is written once, and then only read. Earlier versions of this library kept every bank in this form.
"""

import errno
import hashlib
import json
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from supermasks.bank.connection import DATABASE
from supermasks.bank.database import HIGHEST, DatabaseReader, file_of, number_of
from supermasks.bank.header import BankHeader
from supermasks.bank.reader import DEEPEST, KINDS, BankReader, FileEntry, TaskEntry
from supermasks.encoding import has_statistics
from supermasks.errors import BankFormatError, StorageError
from supermasks.files import free_name, parsing, read_bytes, storage, sync_files, sync_folder, write_file
from supermasks.version import __version__

FORMAT = "supermasks-bank"
READ = (5, 6, 7)
"""The versions that are read; 6 adds kinds of changes and `weights` to 5, and 7 adds statistics of tasks."""

PLAIN, COUNTED = 6, 7
"""The versions that are written: of a bank without and with statistics. A reader of version 6 would lose them."""

MANIFEST = "manifest.json"
TASKS = "tasks"

WAIT = 60.0
"""Seconds to wait for a writer of the living bank that a shared one has become."""

LARGEST = 2**28
"""The most bytes of a manifest: enough for a million tasks."""

_TASK_FILE = re.compile(r"tasks/[0-9]{6,12}\.safetensors")
_SHARED_FILES = {kind: re.compile(rf"{kind}-[0-9]{{6,12}}\.safetensors") for kind in KINDS}
_SHARED_FILES["kept"] = re.compile(r"kept(-[0-9]{6,12})?\.safetensors")
_NUMBER = re.compile(r"(?:kept|(?:[a-z]+-)?([0-9]{6,12}))\.safetensors")
_END = re.compile(rb'"digest": "([0-9a-f]{64})"\n\}\Z')
_END_BYTES = len('"digest": ""\n}') + 64
_OTHER_VERSION = re.compile(rb'"version": (?!(?:5|6|7)\b)([0-9]{1,9})')
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Manifest:
    """The content of `manifest.json`.

    Attributes:
        header: what the tasks were learned over.
        tasks: in the order of learning.
        shared: what all tasks share, by its kind.
        version: of the format.
    """

    header: BankHeader
    tasks: tuple[TaskEntry, ...] = ()
    shared: Mapping[str, FileEntry] = field(default_factory=dict[str, FileEntry])
    version: int = PLAIN

    def encode(self) -> bytes:
        """Return the content of `manifest.json`: a line for each field and each task."""
        # Readers of version 5 expect the first two of `KINDS`.
        once = {kind: self.shared[kind]._asdict() if kind in self.shared else None for kind in KINDS}
        fields = {
            "format": FORMAT,
            "version": self.version,
            "library": __version__,
            **self.header.described(),
            **{kind: entry for kind, entry in once.items() if entry or kind in ("kept", "memory")},
        }
        lines = [f"{json.dumps(name)}: {json.dumps(value)}" for name, value in fields.items()]
        # Line by line: with `indent`, json does not use its fast encoder.
        tasks = ",\n".join(json.dumps(entry._asdict()) for entry in self.tasks)
        before = ("{\n" + ",\n".join([*lines, f'"tasks": [\n{tasks}\n]']) + ",\n").encode()
        return before + b'"digest": "%s"\n}' % hashlib.sha256(before).hexdigest().encode()

    def files(self) -> Iterator[str]:
        """Return the files of the bank other than the manifest."""
        yield from (entry.file for entry in (*self.tasks, *self.shared.values()))

    @classmethod
    def read(cls, folder: Path) -> "Manifest":
        """Return the manifest of a folder.

        Raises:
            BankFormatError: it is missing, damaged, or of another version.
            StorageError: it cannot be read.
        """
        file = folder / MANIFEST
        try:
            content = read_bytes(file, LARGEST)
        except (FileNotFoundError, StorageError) as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR):
                raise
            raise BankFormatError(
                f"there is no bank in {folder}: {DATABASE} or {MANIFEST} is missing; check the path"
            ) from None
        # Checked before parsing, which takes many times the memory of the file.
        end = _END.search(content, max(0, len(content) - _END_BYTES))
        if end is None or hashlib.sha256(memoryview(content)[: end.start()]).hexdigest().encode() != end[1]:
            other = _OTHER_VERSION.search(content, 0, 200)
            reads = f", while this library reads {READ[0]} to {READ[-1]}"
            of = f"; it may be of version {other[1].decode()}{reads}" if other else ""
            raise BankFormatError(
                f"{file} was altered, or is not the manifest of a bank: its digest does not match its content{of}; "
                "restore it from a copy"
            )
        with parsing(f"{file} is not a manifest of a bank"):
            return _parsed(json.loads(content), file)


class SharedReader(BankReader):
    """Reads a shared bank.

    Args:
        path: of its folder.

    Raises:
        BankFormatError: there is no manifest, or it is damaged.
        StorageError: it cannot be read.
    """

    living = False

    def __init__(self, path: Path) -> None:
        self.path, self.manifest = path, Manifest.read(path)
        self.header, self.shared = self.manifest.header, self.manifest.shared
        self._follows = True

    def stay(self) -> None:
        """Do not look for a living bank in place of files that are missing: it is about to be made.

        Raises:
            StorageError: the files of all tasks are missing at once.
        """
        self._follows = False
        with storage(f"{self.path} cannot be read"):
            if self.manifest.tasks and not (self.path / TASKS).exists():
                raise StorageError(f"{self.path / TASKS} is missing, with all its tasks; check the disk and the path")

    def read(self, entry: FileEntry | TaskEntry, what: str, most: int) -> bytes:
        """Return the content of a file, as `BankReader.read` says."""
        try:
            return self._content(entry, what, most)
        except BankFormatError:
            if self._follows and (self.path / DATABASE).exists():  # the bank has become a living one, of the same bytes
                with suppress(BankFormatError):
                    return DatabaseReader(self.path, WAIT).read(entry, what, most)
            raise

    def _content(self, entry: FileEntry | TaskEntry, what: str, most: int) -> bytes:
        file = self.path / entry.file
        try:
            content = read_bytes(file, most)
        except FileNotFoundError:
            raise BankFormatError(
                f"{what} cannot be read: {file} is missing; if another process has changed the bank since, open it "
                "again, otherwise restore the file from a copy"
            ) from None
        if hashlib.sha256(content).hexdigest() != entry.sha256:
            raise BankFormatError(
                f"{file} is truncated or altered: its SHA-256 is not the one in the manifest; restore it from a copy"
            )
        return content

    def _listed(self) -> list[TaskEntry]:
        return list(self.manifest.tasks)

    def sizes(self) -> dict[str, int]:
        """Return the bytes on disk of each file, by its path in the folder.

        Raises:
            BankFormatError: a file is missing.
            StorageError: a file cannot be accessed.
        """
        try:
            with storage(f"{self.path} cannot be read", passing=(FileNotFoundError,)):
                return {file: (self.path / file).stat().st_size for file in (MANIFEST, *self.manifest.files())}
        except FileNotFoundError as error:
            raise BankFormatError(f"{self.path} is not complete: {error}; restore it from a copy") from error

    def put_aside(self, entry: TaskEntry | FileEntry) -> None:
        """Rename a damaged file."""
        file = self.path / entry.file
        with storage(f"{file} cannot be put aside"), suppress(FileNotFoundError):
            os.replace(file, free_name(file))


def manifest_of(
    header: BankHeader, entries: Collection[TaskEntry], shared: Mapping[str, str], first: int = 0
) -> Manifest:
    """Return a manifest of new files.

    Args:
        header: of the bank.
        entries: its tasks, of which each gets a file with its own number.
        shared: the digests of what they share, by its kind.
        first: added to all numbers; 0 if no file of a bank is there.

    Raises:
        BankFormatError: there is no number left.
    """
    moved = {entry.file: file_of(number_of(entry.file) + first) for entry in entries}
    highest = max(map(number_of, moved.values()), default=first)
    if highest >= HIGHEST:
        raise BankFormatError("a file has the highest possible number; move that file to another folder")
    tasks = (entry._replace(file=moved[entry.file], reference=moved.get(entry.reference, "")) for entry in entries)
    files = {kind: f"{kind}-{highest + 1:06d}.safetensors" for kind in shared}
    if "kept" in files and not first:
        files["kept"] = "kept.safetensors"
    once = {kind: FileEntry(file, shared[kind]) for kind, file in files.items()}
    return Manifest(header, tuple(tasks), once, COUNTED if "moments" in once else PLAIN)


def refuse_link(path: Path) -> None:
    """Raise an error if a bank has its tasks in a folder elsewhere, which may be that of another bank.

    Raises:
        BankFormatError: the folder of its tasks is a symbolic link.
    """
    if (path / TASKS).is_symlink():
        raise BankFormatError(f"{path / TASKS} is a symbolic link; replace it by a real folder")


def write_shared(bank: BankReader, path: Path) -> None:
    """Write a bank as files into a folder, and the manifest last. Files of an earlier shared bank there are replaced.

    Args:
        bank: to write.
        path: of the folder.

    Raises:
        BankFormatError: a part of the bank is damaged, or the folder holds links that would be followed.
        StorageError: the bank cannot be read, or the folder cannot be written to.
    """
    with storage(f"{path} cannot be written"):
        (path / TASKS).mkdir(parents=True, exist_ok=True)
        refuse_link(path)
        present = [*os.listdir(path), *os.listdir(path / TASKS)]
        earlier = {*Manifest.read(path).files()} if (path / MANIFEST).exists() else set[str]()
    # Above every number that is there: a file never changes under its name.
    first = max((int(found[1] or 0) for found in map(_NUMBER.fullmatch, present) if found), default=-1) + 1
    digests = {kind: entry.sha256 for kind, entry in bank.shared.items()}
    manifest = manifest_of(bank.header, bank.entries.values(), digests, first)
    try:
        for before, after in zip(bank.entries.values(), manifest.tasks, strict=True):
            content = bank.content(before)
            write_file(path / after.file, content, sync=False)
            if has_statistics(content):
                manifest = replace(manifest, version=COUNTED)
        for kind, entry in manifest.shared.items():
            write_file(path / entry.file, bank.raw(kind), sync=False)
        with storage(f"{path} cannot be written"):
            sync_files(path / file for file in manifest.files())
            for folder in (path / TASKS, path, path.absolute().parent):
                sync_folder(folder)
        write_file(path / MANIFEST, manifest.encode())
    except BaseException:
        with suppress(StorageError):
            _remove(path, manifest.files())
        raise
    _remove(path, earlier.difference(manifest.files()))


def remove_shared(path: Path) -> None:
    """Remove the files of a shared bank, the manifest last.

    Raises:
        BankFormatError: the manifest is damaged.
        StorageError: a file cannot be removed.
    """
    _remove(path, Manifest.read(path).files())
    _remove(path, [MANIFEST, ".lock"])
    with storage(f"{path / TASKS} cannot be removed"):
        if (path / TASKS).is_dir() and not os.listdir(path / TASKS):
            (path / TASKS).rmdir()


def _remove(path: Path, files: Iterable[str]) -> None:
    with storage(f"files in {path} cannot be removed"):
        for file in files:
            (path / file).unlink(missing_ok=True)


def _parsed(manifest: dict[str, Any], file: Path) -> Manifest:
    if manifest["format"] != FORMAT or manifest["version"] not in READ:
        raise BankFormatError(
            f"expected {FORMAT} version {READ[0]} to {READ[-1]}, but {file} is {manifest['format']!r} version "
            f"{manifest['version']!r}; use the version of the library that wrote it"
        )
    shared = {
        kind: FileEntry(_checked_path(manifest[kind], pattern, file), str(manifest[kind]["sha256"]))
        for kind, pattern in _SHARED_FILES.items()
        if manifest.get(kind)
    }
    header = BankHeader.from_described(manifest, file)
    return Manifest(header, _tasks(manifest["tasks"], file), shared, manifest["version"])


def _tasks(stored: list[Any], file: Path) -> tuple[TaskEntry, ...]:
    tasks, depths = list[TaskEntry](), {"": 0}
    for entry in stored:
        path, sha256, name = _checked_path(entry, _TASK_FILE, file), entry["sha256"], entry["name"]
        reference, after = entry["reference"] or "", entry["after"] or ""
        if not isinstance(name, str):
            name = f"\0{json.dumps(name)}"  # an invalid name: only this task is refused, when it is read
        if reference not in depths:
            raise BankFormatError(
                f"{file} refers to {reference!r} for {name!r}, which is not an earlier task; do not trust it"
            )
        for digest in (sha256, after or sha256):
            if not _DIGEST.fullmatch(digest):
                raise BankFormatError(f"{file} has {digest!r} for {name!r}, expected a SHA-256; do not trust it")
        if path in depths:
            raise BankFormatError(f"{file} names {path} twice; do not trust it")
        depths[path] = depths[reference] + 1
        if depths[path] > DEEPEST:
            raise BankFormatError(f"{file} needs more than {DEEPEST} tasks to read {name!r}; do not trust it")
        tasks.append(TaskEntry(path, sha256, name, reference, after))
    return tuple(tasks)


def _checked_path(stored: Mapping[str, Any], pattern: re.Pattern[str], manifest: Path) -> str:
    path = stored["file"]
    if not pattern.fullmatch(path):
        raise BankFormatError(f"{manifest} names files outside of its folder of tasks; do not trust it")
    return path
