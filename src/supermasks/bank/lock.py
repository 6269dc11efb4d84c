"""One process writes into a bank at a time."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from supermasks.bank.files import storage
from supermasks.bank.writer import TASKS
from supermasks.errors import BankBusyError, BankFormatError, StorageError

LOCK = ".lock"


@contextmanager
def locked(path: Path, wait: float) -> Generator[None]:
    """Let no other process write into the folder of a bank; the system lifts the lock of a process that dies.

    Args:
        path: of the folder.
        wait: for so many seconds, for another process to end its writing.

    Raises:
        BankFormatError: there is no such folder, or writing into it would follow a link.
        BankBusyError: another process writes into it.
        StorageError: it cannot be written to.
    """
    with storage(f"{path} cannot be read"):
        if not path.is_dir():
            raise BankFormatError(f"there is no bank in {path}: it is no folder; is this the right one?")
        for file in (LOCK, TASKS):
            if (path / file).is_symlink():
                raise BankFormatError(
                    f"{path / file} is a symbolic link, and what is written could land elsewhere; put a file or folder "
                    "of its own there"
                )
    lock = FileLock(path / LOCK)  # made anew: it can be neither copied nor used in a forked process
    with storage(f"{path} cannot be written"):
        try:
            lock.acquire(wait)
        except Timeout:
            raise BankBusyError(
                f"another process has been writing into {path} for {wait:g} seconds; try again later"
            ) from None
        except NotImplementedError as error:
            raise StorageError(f"{path} cannot be locked: {error}; choose another place") from error
    try:
        yield
    finally:
        lock.release()
