"""What `manifest.json` says: what the bank was learned over, and which tasks it has, in which files."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from supermasks.bank.files import write_file
from supermasks.bank.header import BankHeader
from supermasks.errors import BankFormatError, SupermasksError
from supermasks.network import NORM_POLICIES
from supermasks.version import __version__

FORMAT = "supermasks-bank"
VERSION = 5
MANIFEST = "manifest.json"
KEPT = "kept.safetensors"

_TASK_FILE = re.compile(r"tasks/[0-9]{6,12}\.safetensors")
_MEMORY_FILE = re.compile(r"memory-[0-9]{6,12}\.safetensors")
_KEPT_FILE = re.compile(re.escape(KEPT))
_END = re.compile(rb'"digest": "([0-9a-f]{64})"\n\}\Z')
_END_BYTES = len('"digest": ""\n}') + 64
_OTHER_VERSION = re.compile(rb'"version": (?!%d\b)([0-9]{1,9})' % VERSION)
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class FileEntry:
    """A file of the bank.

    Attributes:
        file: its path in the folder.
        sha256: of its content.
    """

    file: str
    sha256: str


@dataclass(frozen=True)
class TaskEntry(FileEntry):
    """A task of the bank.

    Attributes:
        name: of the task.
        reference: the file of the task relative to whose mask its mask is coded; empty where there is none.
        after: the digest of the weights after the task, where it owns some; empty otherwise.
    """

    name: str
    reference: str = ""
    after: str = ""


@dataclass(frozen=True)
class Manifest:
    """All that a bank says of itself.

    Attributes:
        header: what its tasks were learned over.
        tasks: in the order of learning.
        kept: the file of the values that no recipe brings back, if there are any.
        memory: the file of what the next task may begin with, if there is anything.
    """

    header: BankHeader
    tasks: tuple[TaskEntry, ...] = ()
    kept: FileEntry | None = None
    memory: FileEntry | None = None

    def encode(self) -> bytes:
        """Return the content of `manifest.json`."""
        header = self.header
        content = {
            "format": FORMAT,
            "version": VERSION,
            "library": __version__,
            "base": dict(header.base),
            "fingerprint": header.fingerprint,
            "shapes": {name: list(shape) for name, shape in header.shapes.items()},
            "buffers": {name: [dtype, list(shape)] for name, (dtype, shape) in header.buffers.items()},
            "norm": header.norm,
            "head": header.head,
            "settings": dict(header.settings),
            "kept": None if self.kept is None else asdict(self.kept),
            "memory": None if self.memory is None else asdict(self.memory),
            "tasks": [asdict(entry) for entry in self.tasks],
        }
        before = json.dumps(content, indent=1)[: -len("\n}")].encode() + b",\n "
        return before + b'"digest": "%s"\n}' % hashlib.sha256(before).hexdigest().encode()

    def write(self, folder: Path) -> None:
        """Write the manifest into a folder, in place of the one that is there."""
        write_file(folder / MANIFEST, self.encode())

    @classmethod
    def read(cls, folder: Path) -> "Manifest":
        """Return the manifest of a folder.

        Raises:
            BankFormatError: there is none, or it is damaged, or of another version.
        """
        file = folder / MANIFEST
        try:
            content = file.read_bytes()
        except FileNotFoundError:
            raise BankFormatError(
                f"there is no bank in {folder}: {MANIFEST} is missing; is it the right folder?"
            ) from None
        except OSError as error:
            raise BankFormatError(f"{file} cannot be read: {error}; restore it from a copy") from error
        # First of all: what is damaged is not parsed, which takes many times its memory.
        end = _END.search(content, max(0, len(content) - _END_BYTES))
        if end is None or hashlib.sha256(memoryview(content)[: end.start()]).hexdigest().encode() != end[1]:
            version = _OTHER_VERSION.search(content, 0, 200)
            of = f"; it may be of version {version[1].decode()}, while this library reads {VERSION}" if version else ""
            raise BankFormatError(
                f"{file} was altered, or is not a manifest of a bank: its digest does not fit its content{of}; "
                "restore it from a copy"
            )
        try:
            return _parsed(json.loads(content), file)
        except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
            if isinstance(error, SupermasksError):
                raise
            raise BankFormatError(
                f"{file} is not a manifest of a bank: {type(error).__name__}: {error}; restore it from a copy"
            ) from error


def _parsed(manifest: dict[str, Any], file: Path) -> Manifest:
    if manifest["format"] != FORMAT or manifest["version"] != VERSION:
        raise BankFormatError(
            f"{file} is of format {manifest['format']} version {manifest['version']}; "
            f"this version of the library reads {FORMAT} version {VERSION}"
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
    tasks, files = list[TaskEntry](), set[str]()
    for entry in manifest["tasks"]:
        name, reference, after = str(entry["name"]), str(entry["reference"]), str(entry["after"])
        if reference and reference not in files:
            raise BankFormatError(f"{file} refers to {reference!r}, which is no task before {name!r}; do not trust it")
        if after and not _DIGEST.fullmatch(after):
            raise BankFormatError(f"{file} names weights by {after!r}, which is no digest; do not trust it")
        path = _checked_path(entry, _TASK_FILE, file)
        if path in files:
            raise BankFormatError(f"{file} names {path} twice; do not trust it")
        tasks.append(TaskEntry(path, str(entry["sha256"]), name, reference, after))
        files.add(path)
    kept = _entry(manifest["kept"], _KEPT_FILE, file) if manifest["kept"] else None
    memory = _entry(manifest["memory"], _MEMORY_FILE, file) if manifest["memory"] else None
    return Manifest(header, tuple(tasks), kept, memory)


def _shape(stored: list[Any]) -> tuple[int, ...]:
    return tuple(int(n) for n in stored)


def _entry(stored: Mapping[str, Any], pattern: re.Pattern[str], manifest: Path) -> FileEntry:
    return FileEntry(_checked_path(stored, pattern, manifest), str(stored["sha256"]))


def _checked_path(stored: Mapping[str, Any], pattern: re.Pattern[str], manifest: Path) -> str:
    path = str(stored["file"])
    if not pattern.fullmatch(path):
        raise BankFormatError(f"{manifest} names files outside of its folder of tasks; do not trust it")
    return path
