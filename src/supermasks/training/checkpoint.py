"""A training that was stopped, as a file: written in one piece, and read back without running any code in it."""

import hashlib
import io
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from supermasks.bank.files import remove_partial, storage, write_file
from supermasks.errors import RunStateError

FORMAT = b"supermasks training checkpoint 1\n"
DIGEST_BYTES = 32


def save_checkpoint(path: Path, identity: Mapping[str, Any], state: Mapping[str, Any]) -> None:
    """Write a checkpoint; whatever goes wrong, the file holds this state or the one before it.

    The file is a line that names the format, the SHA-256 of the rest, and the rest, as `torch.save` writes it.

    Args:
        path: of the file; its folder is made if need be.
        identity: what training it is of, plain data.
        state: how far it is: tensors and plain data.

    Raises:
        StorageError: the file cannot be written; it holds what it held before.
    """
    buffer = io.BytesIO()
    torch.save({"identity": dict(identity), "state": dict(state)}, buffer)
    content = buffer.getvalue()
    with storage(f"the checkpoint {path} cannot be written"):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, FORMAT, hashlib.sha256(content).digest(), content)
    remove_partial(path)  # of a process that was stopped while it wrote


def has_checkpoint(path: Path) -> bool:
    """Return whether there is a checkpoint.

    Raises:
        StorageError: its folder cannot be read.
    """
    with storage(f"the checkpoint {path} cannot be read"):
        return path.exists()


def remove_checkpoint(path: Path) -> None:
    """Remove a checkpoint, if there is one.

    Raises:
        StorageError: it cannot be removed.
    """
    with storage(f"the checkpoint {path} cannot be removed"):
        path.unlink(missing_ok=True)


def load_checkpoint(path: Path, identity: Mapping[str, Any]) -> dict[str, Any]:
    """Return the state in a checkpoint, on the CPU.

    Raises:
        RunStateError: the file is damaged, or is of another training than that with this identity.
        StorageError: the file cannot be read.
    """
    content = _read(path)
    found: dict[str, Any] = content["identity"]
    for what, expected in identity.items():
        if found.get(what) != expected:
            raise RunStateError(
                f"the checkpoint {path} is of another training: its {what} is {found.get(what)!r}, but "
                f"{expected!r} is asked for; go on with that one, or delete the file"
            )
    state: dict[str, Any] = content["state"]
    return state


def _read(path: Path) -> dict[str, Any]:
    with storage(f"the checkpoint {path} cannot be read"):
        raw = path.read_bytes()
    if not raw.startswith(FORMAT):
        raise RunStateError(
            f"{path} is no checkpoint of this version of the library; delete it, and the task begins anew"
        )
    start = len(FORMAT) + DIGEST_BYTES
    # torch itself would take altered numbers for good ones.
    if hashlib.sha256(memoryview(raw)[start:]).digest() != raw[len(FORMAT) : start]:
        raise RunStateError(f"the checkpoint {path} is truncated or altered; delete it, and the task begins anew")
    try:
        content: dict[str, Any] = torch.load(io.BytesIO(raw[start:]), map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError) as error:  # written on purpose, or by another version of torch
        raise RunStateError(
            f"the checkpoint {path} cannot be read: {type(error).__name__}; delete it, and the task begins anew"
        ) from error
    return content
