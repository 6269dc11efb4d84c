"""A bank as a folder: a manifest, and one safetensors file a task.

    manifest.json               header, and name, file and SHA-256 of each task in the order of learning
    tasks/000000.safetensors    packed mask bits and buffers of the first task

The manifest carries a digest of itself. Each file is written under another name, synced and renamed, the task
before the manifest: whenever the writer is stopped, the folder holds the bank as it was before or after.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from supermasks.bank.bank import BankHeader, MaskBank
from supermasks.bank.labels import decode_label, encode_label
from supermasks.errors import BankFormatError, DuplicateTaskError, SupermasksError
from supermasks.masks import Mask
from supermasks.state import TaskState

FORMAT = "supermasks-bank"
VERSION = 1
MANIFEST = "manifest.json"


class BankFolder:
    """A folder that holds a bank; tasks are appended to it one by one.

    Args:
        path: of the folder, which need not exist.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    def exists(self) -> bool:
        """Return whether there is a bank in the folder."""
        return (self.path / MANIFEST).exists()

    def create(self, header: BankHeader) -> None:
        """Start an empty bank.

        Raises:
            BankFormatError: the folder holds a bank already, or cannot be made.
        """
        if self.exists():
            raise BankFormatError(f"{self.path} holds a bank already; choose another folder, or append to that bank")
        try:
            (self.path / "tasks").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BankFormatError(f"{self.path} cannot hold a bank: {error}; choose another folder") from error
        self._write_manifest(header, [])

    def append(self, state: TaskState) -> None:
        """Add one task behind the others.

        Raises:
            BankFormatError: there is no readable bank in the folder.
            LabelError: a class label cannot be stored.
            DuplicateTaskError: the bank has a task of this name.
            MaskError: the mask is not over the parameters of this bank.
        """
        header, entries = self._read_manifest()
        MaskBank(header).add(state)  # refuses a mask over other parameters
        if any(entry["name"] == state.name for entry in entries):
            raise DuplicateTaskError(f"{self.path} has a task {state.name!r} already; choose another name")
        content = encode_state(state)
        file = f"tasks/{len(entries):06d}.safetensors"
        _write(self.path / file, content)
        entry = {"name": state.name, "file": file, "sha256": hashlib.sha256(content).hexdigest()}
        self._write_manifest(header, [*entries, entry])

    def save(self, bank: MaskBank) -> None:
        """Make the folder hold this bank: created if there is none, otherwise only new tasks are appended.

        Raises:
            BankFormatError: the folder holds a bank that is not a beginning of this one; it is left as it is.
            LabelError: a class label cannot be stored; the folder is left as it is.
        """
        contents = {state.name: encode_state(state) for state in bank}
        if not self.exists():
            self.create(bank.header)
        header, entries = self._read_manifest()
        ours = [(name, hashlib.sha256(content).hexdigest()) for name, content in contents.items()]
        if (
            header.fingerprint != bank.header.fingerprint
            or [(e["name"], e["sha256"]) for e in entries] != ours[: len(entries)]
        ):
            raise BankFormatError(
                f"{self.path} holds another bank, with other tasks or another base; choose another folder"
            )
        self._write_manifest(bank.header, entries)  # settings may have changed
        for state in list(bank)[len(entries) :]:
            self.append(state)

    def header(self) -> BankHeader:
        """Return what the bank was learned over.

        Raises:
            BankFormatError: there is no bank in the folder, or its manifest is damaged.
        """
        return self._read_manifest()[0]

    def read(self) -> MaskBank:
        """Return the bank, every task of it read and checked against its digest.

        Raises:
            BankFormatError: a file is missing, truncated or altered.
        """
        header, entries = self._read_manifest()
        bank = MaskBank(header)
        for entry in entries:
            bank.add(self._read_task(entry, header))
        return bank

    def sizes(self) -> dict[str, int]:
        """Return the bytes on disk of each file, by its path in the folder.

        Raises:
            BankFormatError: a file is missing.
        """
        try:
            return {file: (self.path / file).stat().st_size for file in self._files()}
        except OSError as error:
            raise BankFormatError(f"{self.path} is not complete: {error}; restore it from a copy") from error

    def _files(self) -> Iterator[str]:
        yield MANIFEST
        yield from (entry["file"] for entry in self._read_manifest()[1])

    def _read_task(self, entry: dict[str, str], header: BankHeader) -> TaskState:
        file = self.path / entry["file"]
        try:
            content = file.read_bytes()
        except OSError as error:
            raise BankFormatError(
                f"task {entry['name']!r} cannot be read: {error}; restore {file} from a copy"
            ) from error
        if hashlib.sha256(content).hexdigest() != entry["sha256"]:
            raise BankFormatError(
                f"{file} is truncated or altered: its SHA-256 is not the one in the manifest; restore it from a copy"
            )
        state = decode_state(content, header.shapes, file)
        if state.name != entry["name"]:
            raise BankFormatError(f"{file} holds task {state.name!r}, but the manifest calls it {entry['name']!r}")
        return state

    def _read_manifest(self) -> tuple[BankHeader, list[dict[str, str]]]:
        file = self.path / MANIFEST
        try:
            text = file.read_text(encoding="utf-8")
        except FileNotFoundError:
            raise BankFormatError(
                f"there is no bank in {self.path}: {MANIFEST} is missing; is this the right folder?"
            ) from None
        except (OSError, UnicodeDecodeError) as error:
            raise BankFormatError(f"{file} cannot be read: {error}") from error
        try:
            manifest: dict[str, Any] = json.loads(text)
            if manifest["format"] != FORMAT or manifest["version"] != VERSION:
                raise BankFormatError(
                    f"{file} is of format {manifest['format']} version {manifest['version']}; "
                    f"this version of the library reads {FORMAT} version {VERSION}"
                )
            if manifest.pop("digest") != _digest(manifest):
                raise BankFormatError(
                    f"{file} was altered: its digest does not fit its content; restore it from a copy"
                )
            shapes = {name: tuple(int(n) for n in shape) for name, shape in manifest["shapes"].items()}
            entries = [{key: str(entry[key]) for key in ("name", "file", "sha256")} for entry in manifest["tasks"]]
            if not all(re.fullmatch(r"tasks/\d+\.safetensors", entry["file"]) for entry in entries):
                raise BankFormatError(f"{file} names files outside of its folder of tasks; do not trust it")
            return BankHeader(manifest["base"], manifest["fingerprint"], shapes, manifest["settings"]), entries
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            if isinstance(error, SupermasksError):
                raise
            raise BankFormatError(f"{file} is not a manifest of a bank: {type(error).__name__}: {error}") from error

    def _write_manifest(self, header: BankHeader, entries: list[dict[str, str]]) -> None:
        manifest = {
            "format": FORMAT,
            "version": VERSION,
            "base": dict(header.base),
            "fingerprint": header.fingerprint,
            "shapes": {name: list(shape) for name, shape in header.shapes.items()},
            "settings": dict(header.settings),
            "tasks": entries,
        }
        manifest["digest"] = _digest(manifest)
        _write(self.path / MANIFEST, json.dumps(manifest, indent=1).encode())


def encode_state(state: TaskState) -> bytes:
    """Return the content of a task's file: `mask/<parameter>` (packed bits) and `buffer/<name>`, JSON as metadata.

    Raises:
        LabelError: a class label cannot be stored.
    """
    tensors = {f"mask/{name}": bits for name, bits in state.mask.packed.items()}
    tensors |= {f"buffer/{name}": value.contiguous() for name, value in state.buffers.items()}
    task = {
        "name": state.name,
        "classes": [encode_label(c) for c in state.classes],
        "input_shape": list(state.input_shape),
    }
    return save(tensors, metadata={"task": json.dumps(task)})


def decode_state(content: bytes, shapes: Mapping[str, tuple[int, ...]], file: Path) -> TaskState:
    """Return the state in a task's file.

    Args:
        content: the bytes of the file.
        shapes: the shape of each maskable parameter.
        file: named in errors.

    Raises:
        BankFormatError: the content is not what `encode_state` makes for these shapes.
    """
    try:
        tensors = load(content)
        task = json.loads(_metadata(content)["task"])
        packed = {name: tensors[f"mask/{name}"] for name in shapes}
        mask = Mask(packed, dict(shapes))
        buffers: dict[str, Tensor] = {
            name.removeprefix("buffer/"): value for name, value in tensors.items() if name.startswith("buffer/")
        }
        if len(buffers) + len(packed) != len(tensors):
            raise BankFormatError(f"{file} holds tensors that are neither masks nor buffers")
        classes = tuple(decode_label(label) for label in task["classes"])
        return TaskState(task["name"], classes, tuple(int(n) for n in task["input_shape"]), mask, buffers)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, BankFormatError):
            raise
        raise BankFormatError(f"{file} is not a task of this bank: {type(error).__name__}: {error}") from error


def _metadata(content: bytes) -> dict[str, str]:
    # safetensors begin with the length of their JSON header, 8 bytes little-endian; `load` has checked it.
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length])["__metadata__"]


def _digest(manifest: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _write(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all, also after a crash."""
    temporary = path.with_name(path.name + ".partial")
    with open(temporary, "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(temporary, path)
