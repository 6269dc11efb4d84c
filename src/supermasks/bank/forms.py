"""The two forms of a bank: which of them a folder holds, and how one becomes the other.

A folder holds one bank. If it has a database that did not move away, this is the bank; otherwise its manifest says what
the bank is. A change of form is complete with one commit of SQLite, so that it cannot be interrupted half-way.
"""

from collections.abc import Collection, Generator, Iterable, Mapping
from contextlib import closing, contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from secrets import token_hex
from shutil import rmtree

from supermasks.bank.connection import DATABASE, Connection, Mode
from supermasks.bank.database import (
    APPLICATION,
    MOVED,
    SCHEMA,
    VERSION,
    DatabaseReader,
    MovedError,
    Root,
    file_of,
    number_of,
)
from supermasks.bank.header import BankHeader
from supermasks.bank.reader import BankReader, TaskEntry
from supermasks.bank.shared import MANIFEST, SharedReader, refuse_link, remove_shared, write_shared
from supermasks.bank.writer import BankWriter, Known
from supermasks.encoding import encode_state
from supermasks.errors import BankBusyError, BankFormatError, StorageError
from supermasks.files import PARTIAL, free_name, storage, sync_folder

PAGE = 2048
"""Bytes of a page of the database: a task wastes a part of a page."""

Tasks = Iterable[tuple[TaskEntry, bytes]]

Stamp = tuple[tuple[int, int, int], tuple[int, int, int], bytes]
"""The inode, the size and the time of the last change in ns, of the database and of the manifest; and the root."""


class ExistsError(BankFormatError):
    """There is a database already."""


def holds(path: Path, file: str) -> bool:
    """Return whether a folder holds a file that is not empty."""
    return _facts(path / file)[1] > 0


def stamp_of(path: Path) -> Stamp:
    """Return a value that differs after each change of the bank in a folder.

    Raises:
        StorageError: the folder cannot be read.
    """
    root = b""
    if holds(path, DATABASE):
        # By SQLite: a process that opens and closes the file in another way gives up its locks.
        bank = DatabaseReader(path, 0, "glance", look=False)
        # It may be damaged or gone, or a writer is in the midst of it. Then it has no root now, which differs, too.
        with closing(bank.connection), suppress(BankFormatError, StorageError):
            root = bank.raw_root()
    return _facts(path / DATABASE), _facts(path / MANIFEST), root


def _facts(file: Path) -> tuple[int, int, int]:
    with storage(f"{file} cannot be read"):
        try:
            found = file.stat()
        except (FileNotFoundError, NotADirectoryError):
            return 0, 0, 0
        return found.st_ino, found.st_size, found.st_mtime_ns


def open_bank(path: Path, wait: float) -> BankReader:
    """Return a reader of the bank in a folder.

    Raises:
        BankFormatError: there is no bank, or it is damaged.
        StorageError: it cannot be read.
        BankBusyError: another process kept it locked.
    """
    if holds(path, DATABASE):
        with suppress(MovedError):
            return DatabaseReader(path, wait)
    return SharedReader(path)


@contextmanager
def open_held(path: Path, wait: float) -> Generator[BankReader]:
    """Yield a reader of the bank in a folder; inside of the context a living bank does not change, and writers wait.

    Raises:
        SupermasksError: everything that `open_bank` raises.
    """
    if holds(path, DATABASE):
        with suppress(MovedError), open_living(path, wait, "read", "") as bank:
            yield bank
            return
    yield open_bank(path, wait)


@contextmanager
def open_living(path: Path, wait: float, mode: Mode = "write", kind: str = "IMMEDIATE") -> Generator[DatabaseReader]:
    """Yield a living bank inside of a transaction, which is committed at the end.

    Args:
        path: of the folder.
        wait: how many seconds to wait while another process writes.
        mode: of the connection.
        kind: of the transaction.

    Raises:
        MovedError: the bank moved to another form.
        SupermasksError: everything that `DatabaseReader` raises.
    """
    bank = DatabaseReader(path, wait, mode, look=False)
    with closing(bank.connection):
        # What does not fit into the cache would lock out readers before the commit, this process among them.
        bank.connection.rows("PRAGMA cache_spill = OFF")
        with bank.connection.transaction(kind):
            bank.look()
            yield bank


def create_living(path: Path, wait: float, header: BankHeader, shared: Mapping[str, bytes], tasks: Tasks = ()) -> None:
    """Make the database of a living bank.

    Args:
        path: of an existing folder.
        wait: how many seconds to wait while another process writes.
        header: what the tasks were learned over.
        shared: what all tasks share, by its kind.
        tasks: in the order of learning, with increasing numbers.

    Raises:
        ExistsError: there is a bank already.
        BankFormatError: the tasks of a shared bank there are in a folder elsewhere, in which no file may be removed.
        StorageError: the database cannot be written.
    """
    if holds(path, MANIFEST):
        refuse_link(path)
    _discard_moved(path, wait)
    bank = DatabaseReader(path, wait, "create", look=False)
    connection = bank.connection
    with closing(connection):
        connection.rows(f"PRAGMA page_size = {PAGE}")  # of a new file only
        with connection.transaction("EXCLUSIVE"):
            if connection.rows("SELECT COUNT(*) FROM sqlite_master") != [(0,)]:
                raise ExistsError(f"{path} already holds a bank; choose another folder, or append to that bank")
            for sql in SCHEMA.values():
                connection.rows(sql)
            connection.rows(f"PRAGMA application_id = {APPLICATION}")
            connection.rows(f"PRAGMA user_version = {VERSION}")
            bank.header = header
            bank.take(Root({}))
            writer = BankWriter(bank, False, 0, Known())
            writer.set_header(header)
            for kind, content in shared.items():
                writer.put(kind, content)
            for entry, content in tasks:
                writer.insert(entry, content)
            writer.finish()
    with storage(f"{path} cannot be written"):
        sync_folder(path)
        sync_folder(path.absolute().parent)


def copied(
    bank: BankReader, without: Collection[str] = (), names: Mapping[str, str] | None = None
) -> tuple[BankHeader, dict[str, bytes], Tasks]:
    """Return the header of a bank, what its tasks share and the tasks, for `create_living`.

    The bytes of the tasks stay the same where they can.

    Args:
        bank: to read.
        without: files that are left out. Masks that are coded relative to these are coded anew.
        names: new names of tasks.

    Raises:
        BankFormatError: a part is damaged, or the name of a task is invalid.
        StorageError: a part cannot be read.
    """
    kinds = [kind for kind, entry in bank.shared.items() if entry.file not in without]
    if all(entry.file in without for entry in bank.entries.values()):
        kinds = [kind for kind in kinds if kind != "moments"]  # as when the last task is removed
    shared = {kind: bank.raw(kind) for kind in kinds}
    return bank.header, shared, _copied_tasks(bank, without, names or {})


def _copied_tasks(bank: BankReader, without: Collection[str], names: Mapping[str, str]) -> Tasks:
    numbers, moved = [number_of(entry.file) for entry in bank.entries.values()], dict[str, str]()
    if any(after <= before for before, after in pairwise(numbers)):
        numbers = list(range(len(numbers)))
    for number, entry in zip(numbers, bank.entries.values(), strict=True):
        if entry.file in without:
            continue
        name = names.get(entry.name, entry.name)
        bank.check_name(entry, name)
        if entry.reference in without:
            content = encode_state(bank.state(entry), bank.header.layout)[0]
        else:
            content = bank.content(entry)
        moved[entry.file] = file = file_of(number)
        yield entry._replace(file=file, name=name, reference=moved.get(entry.reference, "")), content


def make_living(path: Path, wait: float) -> None:
    """Turn the bank in a folder into a living one, if it is not; nothing but its form changes.

    Raises:
        BankFormatError: there is no bank, or a part of it is damaged.
        StorageError: it cannot be read or written; it stays as it was.
        BankBusyError: another process writes into it.
    """
    bank = open_bank(path, wait)
    if isinstance(bank, SharedReader):
        bank.stay()
        with suppress(ExistsError):  # another process was faster
            create_living(path, wait, *copied(bank))
    if holds(path, MANIFEST):  # also what an interrupted change of form has left
        refuse_link(path)
        with suppress(BankFormatError):
            remove_shared(path)


def make_shared(path: Path, wait: float) -> None:
    """Turn the bank in a folder into a shared one, if it is not; nothing but its form changes.

    Raises:
        BankFormatError: there is no bank, or a part of it is damaged.
        StorageError: it cannot be read or written; it stays as it was.
        BankBusyError: another process writes into it.
    """
    if open_bank(path, wait).living:
        with suppress(MovedError), open_living(path, wait, kind="EXCLUSIVE") as bank:
            write_shared(bank, path)
            # Processes that have the file open must not write into it any more.
            bank.connection.rows(f"PRAGMA user_version = {MOVED}")
        _discard_moved(path, wait)


def rebuild(bank: DatabaseReader, without: Collection[str], names: Mapping[str, str]) -> None:
    """Write a damaged database anew, in its place, with what can be read; the damaged one is kept beside it.

    Args:
        bank: the damaged one.
        without: files that are left out.
        names: new names of tasks.

    Raises:
        BankBusyError: another process has changed the bank since it was read.
        StorageError: it cannot be written.
    """
    path, wait, beside = bank.path, bank.connection.wait, bank.path / f"{token_hex(8)}{PARTIAL}"
    with storage(f"{path} cannot be written"):
        beside.mkdir()
    try:
        create_living(beside, wait, *copied(bank, without, names))
        # By SQLite: a process that opens and closes the file in another way gives up its locks.
        bank.connection.copy(Connection(path, wait, "create", free_name(path / DATABASE).name))
        if not bank.is_current():
            raise BankBusyError(f"another process changed {path} while it was repaired; try again")
        Connection(beside, wait).copy(bank.connection)
    finally:
        bank.connection.close()
        rmtree(beside, ignore_errors=True)


def _discard_moved(path: Path, wait: float) -> None:
    """Remove a database whose bank moved to another form."""
    file = path / DATABASE
    if not holds(path, DATABASE):
        return
    before, connection = file.stat().st_ino, Connection(path, wait, "write")
    # Only the process that has locked such a file may remove it: another bank may be made under its name.
    with closing(connection), connection.transaction("EXCLUSIVE"):
        marks = connection.rows("PRAGMA application_id") + connection.rows("PRAGMA user_version")
        with storage(f"{file} cannot be removed"), suppress(FileNotFoundError):
            if marks == [(APPLICATION,), (MOVED,)] and file.stat().st_ino == before:
                file.unlink()
                sync_folder(path)
