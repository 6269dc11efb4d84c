"""A connection to the database of a living bank, and what SQLite refuses, as errors of the library.

A bank may come from anybody: the settings are those that sqlite.org/security.html advises for untrusted files.
"""

import os
import sqlite3
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from threading import RLock
from typing import Any, Literal

from supermasks.errors import BankBusyError, BankFormatError, StorageError
from supermasks.files import storage

DATABASE = "bank.sqlite"
"""The name of the database in the folder of a bank."""

_PRAGMAS = (
    "trusted_schema = OFF",
    "cell_size_check = ON",
    "mmap_size = 0",
    "secure_delete = ON",
    "synchronous = EXTRA",
)
_DISK = "check the disk, free some space, or choose another place"
_PERMISSIONS = "change the permissions of the folder and its files, or choose another place"
_ADVICE = {
    **dict.fromkeys(("full", "disk I/O"), _DISK),
    **dict.fromkeys(("unable to open", "readonly", "permission"), _PERMISSIONS),
    "memory": "try again, or choose another place",
}
"""What to do if the system refuses, by words of SQLite's message."""

_SUPER_JOURNAL = bytes.fromhex("d9d505f920a163d7")

Mode = Literal["read", "write", "create", "glance"]


@contextmanager
def asking(path: Path, action: str, wait: float = 0) -> Generator[None]:
    """Turn errors of SQLite into errors of the library.

    Args:
        path: of the folder of the bank.
        action: "read" or "written".
        wait: how many seconds were waited for other processes.
    """
    try:
        yield
    except (sqlite3.Error, sqlite3.Warning, OverflowError, UnicodeError) as error:
        words = str(error)
        if "locked" in words or "busy" in words:
            raise BankBusyError(
                f"another process has been writing into {path} for {wait:g} seconds; try again later"
            ) from error
        if advice := next((advice for part, advice in _ADVICE.items() if part in words), ""):
            raise StorageError(f"{path / DATABASE} cannot be {action}: {words}; {advice}") from error
        raise BankFormatError(
            f"{path / DATABASE} is damaged: {words}; restore it from a copy, or drop what is damaged by: supermasks "
            "bank repair"
        ) from error


class Connection:
    """A connection to the database of a bank. A copy of it, also in a fork, connects anew.

    Args:
        path: of the folder.
        wait: how many seconds to wait while another process writes.
        mode: to "read" or "write" an existing bank, or to "create" one. At a "glance", nothing is locked: what is read
            may be incomplete.
        file: the name of the database.
    """

    def __init__(self, path: Path, wait: float, mode: Mode = "read", file: str = DATABASE) -> None:
        self.path, self.wait, self.file = path, wait, path / file
        self.mode: Mode = mode
        self._action = "read" if mode in ("read", "glance") else "written"
        self._open: tuple[int, sqlite3.Connection] | None = None
        self._lock = RLock()

    def __reduce__(self) -> tuple[type["Connection"], tuple[Path, float, Mode, str]]:
        return Connection, (self.path, self.wait, self.mode, self.file.name)

    def rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """Return the rows that a statement finds.

        Raises:
            BankFormatError: the database is damaged.
            BankBusyError: another process kept it locked.
            StorageError: the system refused.
        """
        with self._lock, asking(self.path, self._action, self.wait):
            return self._connected().execute(sql, values).fetchall()

    @contextmanager
    def transaction(self, kind: str = "") -> Generator[None]:
        """Commit what happens inside, or nothing of it.

        Args:
            kind: "IMMEDIATE" to write, "EXCLUSIVE" to keep readers out, too. By default, only writers have to wait.
        """
        with self._lock:
            self.rows(f"BEGIN {kind}")
            try:
                yield
                self.rows("COMMIT")
            except BaseException:
                if self.in_transaction():
                    self.rows("ROLLBACK")
                raise

    def in_transaction(self) -> bool:
        """Return whether a transaction is open."""
        return self._open is not None and self._open[0] == os.getpid() and self._open[1].in_transaction

    def some(self, sql: str, *values: Any) -> Iterator[tuple[Any, ...]]:
        """Yield the rows that a statement finds, one by one, up to the first that cannot be read."""
        with self._lock, asking(self.path, self._action, self.wait):
            try:
                yield from self._connected().execute(sql, values)
            except sqlite3.DatabaseError as error:
                if type(error) is not sqlite3.DatabaseError:  # the system failed, not the data
                    raise

    def copy(self, other: "Connection") -> None:
        """Put this database, as it is now, in the place of another one."""
        with self._lock, asking(other.path, "written", self.wait), closing(other):
            self._connected().backup(other._connected())

    def close(self) -> None:
        """Close the connection; the next use opens another one."""
        if self._open is not None and self._open[0] == os.getpid():
            self._open[1].close()
        self._open = None

    def _connected(self) -> sqlite3.Connection:
        if self._open is None or self._open[0] != os.getpid():  # a fork must not use the connection of its parent
            self._open = os.getpid(), self._connect()
        return self._open[1]

    def _connect(self) -> sqlite3.Connection:
        _check_journal(self.file)
        if self._action == "written" and self.file.is_symlink():
            raise BankFormatError(
                f"{self.file} is a symbolic link, so writing could change files elsewhere; replace it by a real file"
            )
        # With rw, SQLite opens a file that may not be written to for reading only.
        mode = {"create": "rwc", "glance": "ro&immutable=1"}.get(self.mode, "rw")
        uri = f"{self.file.absolute().as_uri()}?mode={mode}"
        made = sqlite3.connect(uri, timeout=self.wait, isolation_level=None, check_same_thread=False, uri=True)
        try:
            for pragma in _PRAGMAS:
                made.execute(f"PRAGMA {pragma}")
            if self.mode == "read":
                made.execute("PRAGMA query_only = ON")
        except BaseException:
            made.close()
            raise
        return made


def _check_journal(file: Path) -> None:
    """Raise BankFormatError if a journal names another journal: SQLite would delete that file, whatever it is."""
    journal = file.with_name(f"{file.name}-journal")
    with storage(f"{journal} cannot be read"), suppress(FileNotFoundError, PermissionError):
        if journal.is_symlink():
            raise BankFormatError(f"{journal} is a symbolic link; do not trust the bank, and remove the link")
        if journal.stat().st_size < 8:
            return
        with open(journal, "rb") as stream:
            stream.seek(-8, os.SEEK_END)
            if stream.read() == _SUPER_JOURNAL:
                raise BankFormatError(f"{journal} was not written by this library; do not trust the bank")
