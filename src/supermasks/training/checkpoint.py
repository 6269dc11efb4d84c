"""Checkpoints of a training: files that are written atomically and read without running code in them."""

import hashlib
import io
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from supermasks.errors import RunStateError
from supermasks.files import remove_partial, storage, write_file

FORMAT = b"supermasks training checkpoint 2\n"
DIGEST_BYTES = 32


def save_checkpoint(path: Path, identity: Mapping[str, Any], state: Mapping[str, Any]) -> None:
    """Write a checkpoint atomically: after a failure the file holds the previous checkpoint.

    The file is a line with the format, the SHA-256 of the rest, and the rest, from `torch.save`.

    Args:
        path: of the file; its folder is created if needed.
        identity: plain data that identifies the training.
        state: of the training: tensors and plain data.

    Raises:
        StorageError: the file cannot be written; it is unchanged.
    """
    buffer = io.BytesIO()
    torch.save({"identity": dict(identity), "state": dict(state)}, buffer)
    content = buffer.getvalue()
    with storage(f"the checkpoint {path} cannot be written"):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, FORMAT, hashlib.sha256(content).digest(), content)
    remove_partial(path)  # left by a process that was killed while writing


def has_checkpoint(path: Path) -> bool:
    """Return whether a checkpoint exists.

    Raises:
        StorageError: its folder cannot be read.
    """
    with storage(f"the checkpoint {path} cannot be read"):
        return path.exists()


def remove_checkpoint(path: Path) -> None:
    """Remove a checkpoint, if it exists.

    Raises:
        StorageError: it cannot be removed.
    """
    with storage(f"the checkpoint {path} cannot be removed"):
        path.unlink(missing_ok=True)


def load_checkpoint(path: Path, identity: Mapping[str, Any]) -> dict[str, Any]:
    """Return the state in a checkpoint, on the CPU.

    Raises:
        RunStateError: the file is damaged, or belongs to a training with another identity.
        StorageError: the file cannot be read.
    """
    content = _read(path)
    found: dict[str, Any] = content["identity"]
    for what, expected in identity.items():
        if found.get(what) != expected:
            raise RunStateError(
                f"the checkpoint {path} belongs to another training: its {what} is {found.get(what)!r}, expected "
                f"{expected!r}; resume that training, or delete the file"
            )
    state: dict[str, Any] = content["state"]
    return state


def _read(path: Path) -> dict[str, Any]:
    with storage(f"the checkpoint {path} cannot be read"):
        raw = path.read_bytes()
    if not raw.startswith(FORMAT):
        raise RunStateError(
            f"{path} is not a checkpoint of this version of the library; delete it to start the task again"
        )
    start = len(FORMAT) + DIGEST_BYTES
    # torch itself does not notice altered numbers.
    if hashlib.sha256(memoryview(raw)[start:]).digest() != raw[len(FORMAT) : start]:
        raise RunStateError(f"the checkpoint {path} is truncated or altered; delete it to start the task again")
    try:
        content: dict[str, Any] = torch.load(io.BytesIO(raw[start:]), map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError) as error:  # made by hand, or by another version of torch
        raise RunStateError(
            f"the checkpoint {path} cannot be read: {type(error).__name__}; delete it to start the task again"
        ) from error
    return content
