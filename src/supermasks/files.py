"""Write files whole or not at all, and read them with their digests checked."""

import errno
import os
import re
import stat
from collections.abc import Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from secrets import token_hex
from typing import Any

from safetensors import SafetensorError

from supermasks.errors import BankFormatError, ConfigError, StorageError, SupermasksError

PARTIAL = ".partial"
"""The ending of a file that is being written."""

# By name: no system has all of these.
_NO_SPACE = ("ENOSPC", "EFBIG", "EDQUOT")
_NO_PERMISSION = ("EACCES", "EPERM", "EROFS")
_CANNOT_SYNC = ("EINVAL", "ENOTSUP", "EOPNOTSUPP", "ENOSYS", *_NO_PERMISSION)

_PARSING = (ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RecursionError, SafetensorError)


@contextmanager
def storage(what: str, passing: tuple[type[OSError], ...] = ()) -> Generator[None]:
    """Turn errors of the operating system into a StorageError.

    Args:
        what: what cannot be done, as in "photos cannot be written".
        passing: errors that pass unchanged.
    """
    try:
        yield
    except OSError as error:
        if isinstance(error, (SupermasksError, *passing)):
            raise
        kind = errno.errorcode.get(error.errno or 0)
        advice = "try again, or choose another place"
        if kind in _NO_SPACE:
            advice = "free some space, or choose another place"
        elif kind in _NO_PERMISSION:
            advice = "change the permissions, or choose another place"
        refused = StorageError(f"{what}: {error.strerror or error}; {advice}")
        refused.errno = error.errno
        raise refused from error


@contextmanager
def parsing(what: str) -> Generator[None]:
    """Turn errors about data of an unexpected form into a BankFormatError.

    Args:
        what: what is wrong then, as in "photos.json is not a list of photos".
    """
    try:
        yield
    except SupermasksError:
        raise
    except _PARSING as error:
        raise BankFormatError(f"{what}: {type(error).__name__}: {error}; restore it from a copy") from error


def as_path(path: Any) -> Path:
    """Return an argument as a path.

    Raises:
        ConfigError: it is not a valid path.
    """
    try:
        made = Path(path)
    except TypeError:
        raise ConfigError(f"expected the path of a file or folder, a string or a Path, got {path!r}") from None
    if "\0" in str(made):
        raise ConfigError(f"a path must not have null characters, got {str(made)!r}")
    return made


def write_file(path: Path, *parts: bytes, sync: bool = True) -> None:
    """Write a file whole or not at all, whatever crashes.

    It is written as a new file under a temporary name, and then renamed. It never follows a link.

    Args:
        path: of the file.
        parts: of its content, one after the other.
        sync: whether the file survives a power cut. Otherwise the caller syncs it, and its folder.

    Raises:
        StorageError: it cannot be written; the file is as it was before.
    """
    # A file name has at most 255 bytes, and a character up to four.
    temporary = path.with_name(f"{path.name[:50]}.{token_hex(8)}{PARTIAL}")
    with storage(f"{path} cannot be written"):
        try:
            with open(temporary, "xb") as stream:
                stream.writelines(parts)
                stream.flush()
                if sync:
                    os.fsync(stream.fileno())
            os.replace(temporary, path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise
        if sync:
            sync_folder(path.parent)


def free_name(path: Path) -> Path:
    """Return the path that a damaged file is kept under: with the ending .broken, and not there yet."""
    names = (path.with_name(f"{path.name}{f'-{n}' if n else ''}.broken") for n in count())
    return next(name for name in names if not os.path.lexists(name))


def move_file(source: Path, path: Path) -> None:
    """Replace a file by another one on the same disk.

    Raises:
        StorageError: it cannot be moved; the file at `path` is as it was before.
    """
    with storage(f"{path} cannot be written"):
        _sync(source)
        os.replace(source, path)
        sync_folder(path.parent)


def remove_partial(path: Path) -> None:
    """Remove the temporary files that interrupted writers of a file have left."""
    left = re.compile(re.escape(path.name[:50]) + r"\.[0-9a-f]{16}" + re.escape(PARTIAL))
    with storage(f"the temporary files beside {path} cannot be removed"):
        for name in filter(left.fullmatch, os.listdir(path.parent)):
            path.with_name(name).unlink(missing_ok=True)


def read_bytes(path: Path, largest: int) -> bytes:
    """Return the content of a file.

    Raises:
        FileNotFoundError: it does not exist.
        BankFormatError: it is a folder or a device, or has more than `largest` bytes.
        StorageError: it exists, but cannot be read.
    """
    try:
        with storage(f"{path} cannot be read", passing=(FileNotFoundError,)):
            found = path.stat()
            # Devices and pipes never end, and a sparse file can look huge at no cost.
            if not stat.S_ISREG(found.st_mode):
                raise BankFormatError(f"{path} is not a file; restore it from a copy")
            if found.st_size > largest:
                raise BankFormatError(
                    f"{path} has {found.st_size:,} bytes, expected at most {largest:,}; restore it from a copy"
                )
            return path.read_bytes()
    except FileNotFoundError as error:
        if path.is_symlink():  # its target may be on a disk that is not mounted now
            raise StorageError(f"{path} cannot be read: it is a link to a file that is missing") from error
        raise


def sync_files(paths: Iterable[Path]) -> None:
    """Make the content of files survive a power cut. A disk writes many at once in the time of a few."""
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(_sync, paths))


def _sync(path: Path) -> None:
    with open(path, "rb+") as stream:
        os.fsync(stream.fileno())


def sync_folder(path: Path) -> None:
    """Make renames in a folder survive a power cut, where the system can."""
    if os.name == "nt":
        return  # Windows cannot open folders
    try:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        if errno.errorcode.get(error.errno or 0) not in _CANNOT_SYNC:
            raise
