"""Checkpoints of a training: files that are written atomically and read without running code in them."""

import hashlib
import io
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from supermasks.bases import fingerprint
from supermasks.brief import brief
from supermasks.changes import Masked, by_kind
from supermasks.errors import RunStateError
from supermasks.files import remove_partial, storage, write_file
from supermasks.scores import Past

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
        RunStateError: the state could not be read again; this is tried if there is no checkpoint yet.
        StorageError: the file cannot be written; it is unchanged.
    """
    if not has_checkpoint(path):
        _check_readable(state)
    content = _stored({"identity": dict(identity), "state": dict(state)})
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


def digest_of_past(past: Past) -> str:
    """Return the SHA-256 of all that a task can learn from earlier ones: their states, and the memory."""
    content = hashlib.sha256(fingerprint(past.memory).encode())
    for state in past.states:
        content.update(repr((state.info, state.over, state.replaced, state.owned and state.owned.digest())).encode())
        content.update(fingerprint(state.buffers).encode())
        # In the order of names: that of a state from a file may be another one than in memory.
        for kind, changes in by_kind(sorted(state.changes.items())).items():
            # Masks are not encoded, which would take a hundred times longer.
            tensors = state.mask.packed if kind is Masked else kind.encode(dict(changes), {})[0]
            content.update(f"{kind.key} {[name for name, _ in changes]} {fingerprint(tensors)}".encode())
    return content.hexdigest()


def _check_readable(state: Mapping[str, Any]) -> None:
    """Raise RunStateError unless all parts of a state can be read again."""
    for name, part in state.items():
        if _is_readable(part):
            continue
        what = "the session's state()" if name == "session" else f"the part {name!r} of a training"
        wrong = {key: value for key, value in part.items() if not _is_readable(value)} if isinstance(part, dict) else {}
        got = ", ".join(f"{key!r}: {brief(value)}" for key, value in wrong.items()) or brief(part)
        raise RunStateError(
            f"expected tensors and plain data from {what}, which a checkpoint can be read with, got {got}; return "
            "numbers of Python instead of numpy's, and lists or dictionaries of these"
        )


def _is_readable(part: object) -> bool:
    try:
        _loaded(_stored(part))
    except (pickle.PickleError, AttributeError, TypeError, RuntimeError):  # objects may refuse it with any of these
        return False
    return True


def _stored(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def _loaded(content: bytes) -> Any:
    return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)


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
        content: dict[str, Any] = _loaded(raw[start:])
    except (RuntimeError, pickle.UnpicklingError) as error:  # made by hand, or by another version of torch
        raise RunStateError(
            f"the checkpoint {path} cannot be read: {type(error).__name__}; delete it to start the task again"
        ) from error
    return content
