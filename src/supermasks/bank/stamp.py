"""A cheap sign of whether the bank in a folder has changed, for programs that watch it."""

from pathlib import Path

from supermasks.bank.connection import DATABASE
from supermasks.bank.files import storage
from supermasks.bank.shared import MANIFEST

Stamp = tuple[tuple[int, int, int, bytes], ...]
"""For each file of a bank: its inode, its size, the time of its last change in ns, and the first bytes."""

_BYTES = 100
"""The header of a database. SQLite counts each commit in it, so that two commits at the same time differ as well."""


def stamp_of(path: Path) -> Stamp:
    """Return a value that differs after each change of the bank in a folder.

    Raises:
        StorageError: the folder cannot be read.
    """
    return tuple(_stamp(path / file) for file in (DATABASE, MANIFEST))


def _stamp(file: Path) -> tuple[int, int, int, bytes]:
    with storage(f"{file} cannot be read", passing=(FileNotFoundError, NotADirectoryError)):
        try:
            with open(file, "rb") as stream:
                found = file.stat()
                return found.st_ino, found.st_size, found.st_mtime_ns, stream.read(_BYTES)
        except (FileNotFoundError, NotADirectoryError):
            return 0, 0, 0, b""
