"""The content of `manifest.json`: what the bank was learned over, its tasks, and their files."""

import errno
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

from supermasks.bank.files import read_bytes, write_file
from supermasks.bank.header import BankHeader
from supermasks.errors import BankFormatError, StorageError, SupermasksError
from supermasks.normalisation import NORM_POLICIES
from supermasks.task_info import MOST_DIMENSIONS
from supermasks.version import __version__

FORMAT = "supermasks-bank"
READ = (5, 6, 7)
"""The versions that are read; 6 adds kinds of changes and `weights` to 5, and 7 adds statistics of tasks."""

WRITTEN = 6
"""The version of a bank without statistics."""

COUNTED = 7
"""The version of a bank whose tasks have statistics: a reader of version 6 would lose them."""

MANIFEST = "manifest.json"
KEPT = "kept.safetensors"

DEEPEST = 8
"""The most tasks that are read to read one, where masks are coded relative to each other."""

LARGEST = 2**28
"""The most bytes of a manifest: enough for a million tasks."""

_TASK_FILE = re.compile(r"tasks/[0-9]{6,12}\.safetensors")
_MEMORY_FILE = re.compile(r"memory-[0-9]{6,12}\.safetensors")
_WEIGHTS_FILE = re.compile(r"weights-[0-9]{6,12}\.safetensors")
_MOMENTS_FILE = re.compile(r"moments-[0-9]{6,12}\.safetensors")
_KEPT_FILE = re.compile(r"kept(-[0-9]{6,12})?\.safetensors")
_END = re.compile(rb'"digest": "([0-9a-f]{64})"\n\}\Z')
_END_BYTES = len('"digest": ""\n}') + 64
_OTHER_VERSION = re.compile(rb'"version": (?!(?:5|6|7)\b)([0-9]{1,9})')
_DIGEST = re.compile(r"[0-9a-f]{64}")
_FILES = (_TASK_FILE, _MEMORY_FILE, _WEIGHTS_FILE, _MOMENTS_FILE, _KEPT_FILE)
_GONE = re.compile("|".join(pattern.pattern for pattern in _FILES))


class FileEntry(NamedTuple):
    """A file of the bank.

    Attributes:
        file: its path in the folder.
        sha256: of its content.
    """

    file: str
    sha256: str


class TaskEntry(NamedTuple):
    """A task of the bank.

    Attributes:
        file: its path in the folder.
        sha256: of the content of its file.
        name: of the task.
        reference: the file of the task that its mask is coded relative to; empty if it is coded alone.
        after: the digest of the weights after the task, if it trained some; otherwise empty.
    """

    file: str
    sha256: str
    name: str
    reference: str = ""
    after: str = ""


@dataclass(frozen=True)
class Manifest:
    """The description of a bank.

    Attributes:
        header: what its tasks were learned over.
        tasks: in the order of learning.
        kept: the file of the values that the recipe of the base cannot rebuild, if there are any.
        memory: the file of what the next task may begin with, if there is anything.
        weights: the file of the shared weights, if a task has trained all of them.
        moments: the file of what the tasks share to recognise inputs by, if it was counted.
        version: of the format.
        gone: files that the bank no longer uses. The next writer removes those that are still there.
        digest: of the manifest that was read; empty if it was not read from a file.
    """

    header: BankHeader
    tasks: tuple[TaskEntry, ...] = ()
    kept: FileEntry | None = None
    memory: FileEntry | None = None
    weights: FileEntry | None = None
    moments: FileEntry | None = None
    version: int = WRITTEN
    gone: tuple[str, ...] = ()
    digest: str = field(default="", compare=False)

    def encode(self) -> bytes:
        """Return the content of `manifest.json`: a line for each field and each task."""
        header = self.header
        fields = {
            "format": FORMAT,
            "version": self.version,
            "library": __version__,
            "base": dict(header.base),
            "fingerprint": header.fingerprint,
            "shapes": {name: list(shape) for name, shape in header.shapes.items()},
            "buffers": {name: [dtype, list(shape)] for name, (dtype, shape) in header.buffers.items()},
            "norm": header.norm,
            "head": header.head,
            "settings": dict(header.settings),
            "kept": None if self.kept is None else self.kept._asdict(),
            "memory": None if self.memory is None else self.memory._asdict(),
            **({} if self.weights is None else {"weights": self.weights._asdict()}),
            **({} if self.moments is None else {"moments": self.moments._asdict()}),
            **({"gone": self.gone} if self.gone else {}),
        }
        lines = [f"{json.dumps(name)}: {json.dumps(value)}" for name, value in fields.items()]
        # Line by line: with `indent`, json does not use its fast encoder.
        tasks = ",\n".join(map(_line, self.tasks))
        before = ("{\n" + ",\n".join([*lines, f'"tasks": [\n{tasks}\n]']) + ",\n").encode()
        return before + b'"digest": "%s"\n}' % hashlib.sha256(before).hexdigest().encode()

    def write(self, folder: Path) -> "Manifest":
        """Write the manifest into a folder, replacing an earlier one, and return it with its digest.

        Raises:
            StorageError: it cannot be written.
        """
        content = self.encode()
        write_file(folder / MANIFEST, content)
        return replace(self, digest=content[-len('"\n}') - 64 : -len('"\n}')].decode())

    def files(self) -> Iterator[str]:
        """Return the files of the bank other than the manifest."""
        once = (self.kept, self.memory, self.weights, self.moments)
        yield from (entry.file for entry in (*self.tasks, *once) if entry is not None)

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
            raise BankFormatError(f"there is no bank in {folder}: {MANIFEST} is missing; check the path") from None
        # Checked before parsing, which takes many times the memory of the file.
        end = _END.search(content, max(0, len(content) - _END_BYTES))
        if end is None or hashlib.sha256(memoryview(content)[: end.start()]).hexdigest().encode() != end[1]:
            version = _OTHER_VERSION.search(content, 0, 200)
            of = (
                f"; it may be of version {version[1].decode()}, while this library reads {READ[0]} to {READ[-1]}"
                if version
                else ""
            )
            raise BankFormatError(
                f"{file} was altered, or is not the manifest of a bank: its digest does not match its content{of}; "
                "restore it from a copy"
            )
        try:
            return _parsed(json.loads(content), file, end[1].decode())
        except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
            if isinstance(error, SupermasksError):
                raise
            raise BankFormatError(
                f"{file} is not a manifest of a bank: {type(error).__name__}: {error}; restore it from a copy"
            ) from error


def _line(entry: TaskEntry) -> str:
    # Only the name may need escaping; the rest are paths and digests.
    file, sha256, name, reference, after = entry
    return (
        f'{{"file": "{file}", "sha256": "{sha256}", "name": {json.encoder.encode_basestring_ascii(name)}, '
        f'"reference": "{reference}", "after": "{after}"}}'
    )


def _parsed(manifest: dict[str, Any], file: Path, digest: str) -> Manifest:
    if manifest["format"] != FORMAT or manifest["version"] not in READ:
        raise BankFormatError(
            f"expected {FORMAT} version {READ[0]} to {READ[-1]}, but {file} is {manifest['format']!r} version "
            f"{manifest['version']!r}; use the version of the library that wrote it"
        )
    if manifest["norm"] not in NORM_POLICIES:
        raise BankFormatError(f"{file} names the unknown policy {manifest['norm']!r}")
    header = BankHeader(
        manifest["base"],
        str(manifest["fingerprint"]),
        {name: _shape(shape) for name, shape in manifest["shapes"].items()},
        manifest["settings"],
        manifest["norm"],
        manifest["head"],
        {name: (str(dtype), _shape(shape)) for name, (dtype, shape) in manifest["buffers"].items()},
    )
    kept = _entry(manifest["kept"], _KEPT_FILE, file) if manifest["kept"] else None
    memory = _entry(manifest["memory"], _MEMORY_FILE, file) if manifest["memory"] else None
    weights = _entry(manifest["weights"], _WEIGHTS_FILE, file) if manifest.get("weights") else None
    moments = _entry(manifest["moments"], _MOMENTS_FILE, file) if manifest.get("moments") else None
    version = max(manifest["version"], WRITTEN)
    gone = tuple(map(str, manifest.get("gone", ())))
    if any(_GONE.fullmatch(path) is None for path in gone):
        raise BankFormatError(f"{file} names files outside of its folder of tasks; do not trust it")
    return Manifest(header, _tasks(manifest["tasks"], file), kept, memory, weights, moments, version, gone, digest)


def _tasks(stored: list[Any], file: Path) -> tuple[TaskEntry, ...]:
    tasks, depths = list[TaskEntry](), dict[str, int]()
    for entry in stored:
        path, sha256, name = _checked_path(entry, _TASK_FILE, file), entry["sha256"], entry["name"]
        reference, after = entry["reference"], entry["after"]
        if not isinstance(name, str):
            name = f"\0{json.dumps(name)}"  # an invalid name: only this task is refused, when it is read
        if reference and reference not in depths:
            raise BankFormatError(
                f"{file} refers to {reference!r} for {name!r}, which is not an earlier task; do not trust it"
            )
        for digest in (sha256, after) if after else (sha256,):
            if not _DIGEST.fullmatch(digest):
                raise BankFormatError(f"{file} has {digest!r} for {name!r}, expected a SHA-256; do not trust it")
        if path in depths:
            raise BankFormatError(f"{file} names {path} twice; do not trust it")
        depths[path] = depth = depths[reference] + 1 if reference else 1
        if depth > DEEPEST:
            raise BankFormatError(f"{file} needs more than {DEEPEST} tasks to read {name!r}; do not trust it")
        tasks.append(TaskEntry(path, sha256, name, reference or "", after or ""))
    return tuple(tasks)


def _shape(stored: list[Any]) -> tuple[int, ...]:
    if any(type(n) is not int or n < 0 for n in stored) or len(stored) > MOST_DIMENSIONS or prod(stored) >= 2**63:
        raise ValueError(f"{stored!r} is not the shape of a tensor")
    return tuple(stored)


def _entry(stored: Mapping[str, Any], pattern: re.Pattern[str], manifest: Path) -> FileEntry:
    return FileEntry(_checked_path(stored, pattern, manifest), str(stored["sha256"]))


def _checked_path(stored: Mapping[str, Any], pattern: re.Pattern[str], manifest: Path) -> str:
    path = stored["file"]
    if not pattern.fullmatch(path):
        raise BankFormatError(f"{manifest} names files outside of its folder of tasks; do not trust it")
    return path
