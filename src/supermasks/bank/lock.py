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
        wait: how many seconds to wait while another process writes.

    Raises:
        BankFormatError: the folder does not exist, or writing into it would follow a link.
        BankBusyError: another process is still writing after that time.
        StorageError: the folder cannot be written to.
    """
    with storage(f"{path} cannot be read"):
        if not path.is_dir():
            raise BankFormatError(f"expected the folder of a bank, but {path} is not a folder; check the path")
        for file in (LOCK, TASKS):
            if (path / file).is_symlink():
                raise BankFormatError(
                    f"{path / file} is a symbolic link, so writing could change files elsewhere; replace it by a real "
                    "file or folder"
                )
    lock = FileLock(path / LOCK)  # a new one each time: a lock cannot be copied or used in a forked process
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
