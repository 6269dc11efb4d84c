"""One process at a time in a folder."""

import sqlite3
from collections.abc import Generator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from supermasks.errors import RunStateError

LOCK = ".supermasks.lock"


@contextmanager
def alone_in(folder: Path) -> Generator[None]:
    """Keep other processes that call this out of a folder, until the end of the context or of this process.

    Raises:
        RunStateError: another process is in the folder, or it cannot be locked.
    """
    with ExitStack() as stack:
        try:
            # The locks of SQLite work on all systems, and a process that is killed leaves none.
            connection = stack.enter_context(closing(sqlite3.connect(folder / LOCK, timeout=0, isolation_level=None)))
            connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.Error as error:
            if "locked" in str(error):
                raise RunStateError(
                    f"another process works in {folder}; wait until it has ended, or choose another folder by --out"
                ) from error
            raise RunStateError(f"{folder} cannot be locked: {error}; choose another folder by --out") from error
        yield
