"""Files that are there whole or not at all, and are what they were when they were written."""

import hashlib
import os
from pathlib import Path

from supermasks.errors import BankFormatError


def write_file(path: Path, content: bytes) -> str:
    """Write a file so that, after a crash or a power cut, it is as before or as wanted; return its SHA-256."""
    temporary = path.with_name(path.name + ".partial")
    with open(temporary, "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(temporary, path)
    sync_folder(path.parent)
    return hashlib.sha256(content).hexdigest()


def read_file(path: Path, sha256: str, what: str) -> bytes:
    """Return the content of a file.

    Args:
        path: of the file.
        sha256: that it must have.
        what: names it in errors.

    Raises:
        BankFormatError: it cannot be read, or its digest is another.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BankFormatError(
            f"{what} cannot be read: {error}; restore {path} from a copy, or, if another process has changed the bank "
            "since, open it again"
        ) from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise BankFormatError(
            f"{path} is truncated or altered: its SHA-256 is not the one in the manifest; restore it from a copy"
        )
    return content


def sync_folder(path: Path) -> None:
    """Make what was renamed in a folder outlast a power cut, where the system can."""
    if os.name == "nt":
        return  # Windows opens no folders
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
