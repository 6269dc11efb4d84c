"""A bank as a folder: a manifest, and one safetensors file a task.

    manifest.json               header, and name, file and SHA-256 of each task in the order of learning
    tasks/000000.safetensors    coded mask, owned and dense weights and buffers of the first task
    kept.safetensors            values of the backbone that no recipe brings back, if there are any
    memory-000001.safetensors   what the next task may begin with, after one task, if the method remembers anything

The manifest carries a digest of itself and of every file. Each file is written under another name, synced and renamed,
the manifest last: whenever the writer is stopped, the folder holds the bank as it was before or after.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from supermasks.bank.bank import BankHeader, MaskBank
from supermasks.bank.labels import decode_label, encode_label
from supermasks.errors import BankFormatError, DuplicateTaskError, SupermasksError
from supermasks.masks import decode_mask, encode_mask
from supermasks.network import NORM_POLICIES
from supermasks.owned import Owned
from supermasks.state import ReadOnlyTensors, TaskState

FORMAT = "supermasks-bank"
VERSION = 4
MANIFEST = "manifest.json"
KEPT = "kept.safetensors"
MASK, OWNED = "mask", "owned"
INPUT_TYPES = {"float32": torch.float32, "int64": torch.int64}


@dataclass(frozen=True)
class _Manifest:
    """What `manifest.json` says; an entry has a file and its SHA-256, that of a task also its name."""

    header: BankHeader
    tasks: list[dict[str, str]]
    kept: dict[str, str] | None = None
    memory: dict[str, str] | None = None


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

    def create(self, header: BankHeader, kept: Mapping[str, Tensor] | None = None) -> None:
        """Start an empty bank.

        Args:
            header: what its tasks are learned over.
            kept: the values of the backbone that no recipe brings back (`Network.kept`).

        Raises:
            BankFormatError: the folder holds a bank already, or cannot be made.
        """
        if self.exists():
            raise BankFormatError(f"{self.path} holds a bank already; choose another folder, or append to that bank")
        try:
            (self.path / "tasks").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BankFormatError(f"{self.path} cannot hold a bank: {error}; choose another folder") from error
        self._write_manifest(_Manifest(header, [], self._write_tensors(KEPT, kept)))

    def append(self, state: TaskState, memory: Mapping[str, Tensor] | None = None) -> None:
        """Add one task behind the others.

        Args:
            state: of the task.
            memory: what the next task may begin with; it takes the place of what was remembered before.

        Raises:
            BankFormatError: there is no readable bank in the folder.
            LabelError: a class label cannot be stored.
            DuplicateTaskError: the bank has a task of this name.
            MaskError: the mask is not over the parameters of this bank.
        """
        manifest = self._read_manifest()
        MaskBank(manifest.header).add(state)  # refuses a mask over other parameters
        if any(entry["name"] == state.name for entry in manifest.tasks):
            raise DuplicateTaskError(f"{self.path} has a task {state.name!r} already; choose another name")
        content = encode_state(state)
        file = f"tasks/{len(manifest.tasks):06d}.safetensors"
        _write(self.path / file, content)
        entry = {"name": state.name, "file": file, "sha256": hashlib.sha256(content).hexdigest()}
        self._write_manifest(self._with_memory(replace(manifest, tasks=[*manifest.tasks, entry]), memory))

    def save(self, bank: MaskBank) -> None:
        """Make the folder hold this bank: created if there is none, otherwise only new tasks are appended.

        Raises:
            BankFormatError: the folder holds a bank that is not a beginning of this one; it is left as it is.
            LabelError: a class label cannot be stored; the folder is left as it is.
        """
        contents = {state.name: encode_state(state) for state in bank}
        if not self.exists():
            self.create(bank.header, bank.kept)
        manifest = self._read_manifest()
        ours = [(name, hashlib.sha256(content).hexdigest()) for name, content in contents.items()]
        theirs = [(entry["name"], entry["sha256"]) for entry in manifest.tasks]
        if manifest.header.fingerprint != bank.header.fingerprint or theirs != ours[: len(theirs)]:
            raise BankFormatError(
                f"{self.path} holds another bank, with other tasks or another base; choose another folder"
            )
        # Settings may have changed.
        self._write_manifest(self._with_memory(replace(manifest, header=bank.header), bank.memory))
        for state in list(bank)[len(theirs) :]:
            self.append(state, bank.memory)

    def header(self) -> BankHeader:
        """Return what the bank was learned over.

        Raises:
            BankFormatError: there is no bank in the folder, or its manifest is damaged.
        """
        return self._read_manifest().header

    def read(self) -> MaskBank:
        """Return the bank, every task of it read and checked against its digest.

        Raises:
            BankFormatError: a file is missing, truncated or altered.
        """
        manifest = self._read_manifest()
        bank = MaskBank(manifest.header, self._read_tensors(manifest.kept))
        bank.memory = ReadOnlyTensors(self._read_tensors(manifest.memory))
        for entry in manifest.tasks:
            bank.add(self._read_task(entry, manifest.header))
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
        manifest = self._read_manifest()
        yield MANIFEST
        yield from (entry["file"] for entry in (*manifest.tasks, manifest.kept, manifest.memory) if entry is not None)

    def _read_task(self, entry: dict[str, str], header: BankHeader) -> TaskState:
        content, file = self._read_checked(entry, f"task {entry['name']!r}"), self.path / entry["file"]
        state = decode_state(content, header.shapes, file)
        if state.name != entry["name"]:
            raise BankFormatError(f"{file} holds task {state.name!r}, but the manifest calls it {entry['name']!r}")
        return state

    def _read_checked(self, entry: Mapping[str, str], what: str) -> bytes:
        file = self.path / entry["file"]
        try:
            content = file.read_bytes()
        except OSError as error:
            raise BankFormatError(f"{what} cannot be read: {error}; restore {file} from a copy") from error
        if hashlib.sha256(content).hexdigest() != entry["sha256"]:
            raise BankFormatError(
                f"{file} is truncated or altered: its SHA-256 is not the one in the manifest; restore it from a copy"
            )
        return content

    def _read_tensors(self, entry: Mapping[str, str] | None) -> dict[str, Tensor]:
        if entry is None:
            return {}
        try:
            return load(self._read_checked(entry, "the bank"))
        except SafetensorError as error:
            raise BankFormatError(f"{self.path / entry['file']} holds no tensors: {error}") from error

    def _write_tensors(self, file: str, tensors: Mapping[str, Tensor] | None) -> dict[str, str] | None:
        if not tensors:
            return None
        content = save({name: tensor.contiguous() for name, tensor in tensors.items()})
        _write(self.path / file, content)
        return {"file": file, "sha256": hashlib.sha256(content).hexdigest()}

    def _with_memory(self, manifest: _Manifest, memory: Mapping[str, Tensor] | None) -> _Manifest:
        # A file of its own for each number of tasks: the one before is whole until the manifest names the new one.
        return replace(manifest, memory=self._write_tensors(f"memory-{len(manifest.tasks):06d}.safetensors", memory))

    def _read_manifest(self) -> _Manifest:
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
            if manifest["norm"] not in NORM_POLICIES:
                raise BankFormatError(f"{file} names the unknown policy {manifest['norm']!r}")
            header = BankHeader(
                manifest["base"],
                manifest["fingerprint"],
                shapes,
                manifest["settings"],
                manifest["norm"],
                manifest["head"],
            )
            tasks = [
                {"name": str(entry["name"]), **_entry(entry, r"tasks/\d+\.safetensors", file)}
                for entry in manifest["tasks"]
            ]
            kept = _entry(manifest["kept"], re.escape(KEPT), file) if manifest["kept"] else None
            memory = _entry(manifest["memory"], r"memory-\d+\.safetensors", file) if manifest["memory"] else None
            return _Manifest(header, tasks, kept, memory)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            if isinstance(error, SupermasksError):
                raise
            raise BankFormatError(f"{file} is not a manifest of a bank: {type(error).__name__}: {error}") from error

    def _write_manifest(self, manifest: _Manifest) -> None:
        header = manifest.header
        content = {
            "format": FORMAT,
            "version": VERSION,
            "base": dict(header.base),
            "fingerprint": header.fingerprint,
            "shapes": {name: list(shape) for name, shape in header.shapes.items()},
            "norm": header.norm,
            "head": header.head,
            "settings": dict(header.settings),
            "kept": manifest.kept,
            "memory": manifest.memory,
            "tasks": manifest.tasks,
        }
        content["digest"] = _digest(content)
        _write(self.path / MANIFEST, json.dumps(content, indent=1).encode())
        for stale in self.path.glob("memory-*.safetensors"):
            if manifest.memory is None or stale.name != manifest.memory["file"]:
                stale.unlink()


def _entry(stored: Mapping[str, Any], pattern: str, manifest: Path) -> dict[str, str]:
    entry = {key: str(stored[key]) for key in ("file", "sha256")}
    if not re.fullmatch(pattern, entry["file"]):
        raise BankFormatError(f"{manifest} names files outside of its folder of tasks; do not trust it")
    return entry


def encode_state(state: TaskState) -> bytes:
    """Return the content of a task's file: the coded mask, owned and dense weights, buffers, and JSON.

    Raises:
        LabelError: a class label cannot be stored.
    """
    words, kept = encode_mask(state.mask)
    tensors = {MASK: words} if kept else {}
    tensors |= {f"dense/{name}": value.contiguous() for name, value in state.dense.items()}
    tensors |= {f"buffer/{name}": value.contiguous() for name, value in state.buffers.items()}
    owned = None
    if state.owned is not None:
        changed, owned = state.owned.encode(state.mask)
        tensors |= {f"{OWNED}/{name}": value for name, value in changed.items()}
    task = {
        "name": state.name,
        "classes": [encode_label(c) for c in state.classes],
        "input_shape": list(state.input_shape),
        "input_dtype": str(state.input_dtype).removeprefix("torch."),
        "kept": kept,
        "owned": owned,
        "over": state.over,
    }
    return save(tensors, metadata={"task": json.dumps(task)})


def decode_state(content: bytes, shapes: Mapping[str, tuple[int, ...]], file: Path) -> TaskState:
    """Return the state in a task's file.

    Args:
        content: the bytes of the file.
        shapes: the shape of each masked parameter.
        file: named in errors.

    Raises:
        BankFormatError: the content is not what `encode_state` makes for these shapes.
    """
    try:
        tensors = load(content)
        task = json.loads(_metadata(content)["task"])
        words = tensors.pop(MASK, torch.empty(0, dtype=torch.int32))
        kinds: dict[str, dict[str, Tensor]] = {"dense": {}, "buffer": {}, OWNED: {}}
        for path, value in tensors.items():
            kind, _, name = path.partition("/")
            kinds[kind][name] = value
        dense = kinds["dense"]
        masked = {name: shape for name, shape in shapes.items() if name not in dense}
        mask = decode_mask(words, {name: int(count) for name, count in task["kept"].items()}, masked)
        return TaskState(
            task["name"],
            tuple(decode_label(label) for label in task["classes"]),
            tuple(int(n) for n in task["input_shape"]),
            mask,
            kinds["buffer"],
            dense,
            INPUT_TYPES[task["input_dtype"]],
            None if task["owned"] is None else Owned.decode(kinds[OWNED], task["owned"], mask),
            str(task["over"]),
        )
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
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
