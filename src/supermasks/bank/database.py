"""A living bank: one SQLite file, which any number of processes read and change.

    items      what all tasks share: the header, the memory and so on; `root` has the digest of everything else
    tasks      the name and the digests of each task; the order of `id` is the order of learning
    contents   the bytes of each task, as in a file of a shared bank

Every row has a digest, and `root` has the sum of those of the tasks: so damage is noticed wherever it is.

A bank may come from anybody. The advice of sqlite.org/security.html is followed: only the expected schema is accepted,
it is not trusted, and no length in the file is believed before it was compared with what there can be.
"""

import hashlib
import json
import re
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from supermasks.bank.connection import DATABASE, Connection, Mode
from supermasks.bank.header import BankHeader
from supermasks.bank.reader import KINDS, BankReader, FileEntry, TaskEntry
from supermasks.errors import BankFormatError
from supermasks.files import free_name, parsing, storage, write_file

APPLICATION, VERSION, MOVED = 0x534D424B, 8, 0
"""In the header of the file: that it is a bank, the version of the format, and that of a bank that moved away."""

SCHEMA = {
    "items": "CREATE TABLE items (name TEXT PRIMARY KEY, sha256 BLOB NOT NULL, content BLOB NOT NULL)",
    "tasks": "CREATE TABLE tasks (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, reference INTEGER, "
    "after TEXT NOT NULL, bytes INTEGER NOT NULL, sha256 BLOB NOT NULL, seal BLOB NOT NULL)",
    "contents": "CREATE TABLE contents (id INTEGER PRIMARY KEY, content BLOB NOT NULL)",
}
_OBJECTS = sorted(
    [("table", name, name, sql) for name, sql in SCHEMA.items()]
    + [("index", f"sqlite_autoindex_{name}_1", name, None) for name in ("items", "tasks")],
    key=lambda row: row[1],
)
_COLUMNS = "id, name, reference, after, bytes, sha256, seal"
HIGHEST = 10**12 - 1
"""The highest id of a task: the number in the name of its file has up to twelve digits."""

FEW = 1000
"""Of a bank with at most so many tasks, all names are read when it is opened."""


@dataclass(frozen=True)
class Root:
    """What the row `root` says.

    Attributes:
        items: the SHA-256 of each other item.
        count: how many tasks there are.
        last: the highest id of a task; -1 if there is none.
        total: the sum of the seals of all tasks, modulo 2**256.
        over: the digest of the weights after all tasks; empty if none trained any.
        edits: how often tasks were removed, renamed or replaced; appending a task does not count.
    """

    items: Mapping[str, str]
    count: int = 0
    last: int = -1
    total: int = 0
    over: str = ""
    edits: int = 0

    def encode(self) -> bytes:
        """Return the content of the row."""
        return json.dumps({**vars(self), "items": dict(self.items), "total": f"{self.total:064x}"}).encode()

    @classmethod
    def decode(cls, content: bytes) -> "Root":
        """Return what `encode` encoded.

        Raises:
            ValueError: the content is something else.
        """
        fields: dict[str, Any] = json.loads(content)
        fields["total"] = int(fields["total"], 16)
        root = cls(**fields)
        if [*map(type, (root.count, root.last, root.over, root.edits))] != [int, int, str, int]:
            raise ValueError("a field has another type than expected")
        if not (0 <= root.count <= root.last + 1 <= HIGHEST) or any(len(d) != 64 for d in root.items.values()):
            raise ValueError(f"{root.count} tasks up to number {root.last} cannot be")
        return root


def seal(number: int, name: str, reference: int | None, after: str, size: int, sha256: bytes) -> bytes:
    """Return the digest of a row of `tasks`."""
    row = [number, name, reference, after, size, sha256.hex()]
    return hashlib.sha256(json.dumps(row).encode()).digest()


def file_of(number: int) -> str:
    """Return the name of a task's bytes, which is that of its file in a shared bank."""
    return f"tasks/{number:06d}.safetensors"


def number_of(file: str) -> int:
    """Return the id of a task by the name of its bytes."""
    return int(file[len("tasks/") : -len(".safetensors")])


class DatabaseReader(BankReader):
    """Reads a living bank as it was when the reader was made, as far as it still is.

    The names of the tasks are read when they are needed, if there are many.

    Args:
        path: of the folder.
        wait: how many seconds to wait while another process writes.
        mode: of the connection.
        look: whether to read the header now; otherwise, call `look` inside of a transaction.

    Attributes:
        connection: to the database.
        root: what the database said when the reader was made.

    Raises:
        BankFormatError: the file is not the database of a bank, is damaged, or of another version.
        StorageError: it cannot be read.
        BankBusyError: another process kept it locked.
    """

    living = True

    def __init__(self, path: Path, wait: float, mode: Mode = "read", look: bool = True) -> None:
        self.path = path
        self.connection = Connection(path, wait, mode)
        if look:
            with self.connection.transaction():
                self.look()

    def look(self) -> None:
        """Take over the bank as it is now; a transaction is open.

        Raises:
            MovedError: the bank moved to another form.
        """
        self.take(self._root())
        with parsing(f"{self.path / DATABASE} has no valid header"):
            fields = json.loads(self._item("header", self.root.items["header"]))
            self.header = BankHeader.from_described(fields, self.path / DATABASE)
        if self.root.count <= FEW and self.connection.mode == "read":
            with suppress(BankFormatError):  # which is raised again when they are needed
                _ = self.entries  # so that they are those of this moment, whatever happens to the bank

    def take(self, root: Root) -> None:
        """Take over another root; the names of the tasks are read anew when they are needed."""
        self.root, self._found, self._numbered = root, None, None
        self.shared = {kind: FileEntry(f"{kind}.safetensors", root.items[kind]) for kind in KINDS if kind in root.items}

    def is_current(self) -> bool:
        """Return whether the bank is still as it was when the reader was made."""
        return self._root() == self.root

    def read(self, entry: FileEntry | TaskEntry, what: str, most: int) -> bytes:
        """Return bytes of the bank, as `BankReader.read` says."""
        return self._content(*_place(entry), what, most, entry.sha256)

    def find(self, name: str) -> TaskEntry | None:
        """Return the entry of a task; None if the bank has none of this name."""
        storable = name.encode(errors="ignore").decode() == name  # otherwise SQLite refuses to look for it
        if self._found is None and storable and (found := self._select("name = ?", name)):
            return found[0]
        return self.entries.get(name)  # an index that was altered may hide a task

    def at(self, file: str) -> TaskEntry:
        """Return the entry of the task with this `file`, as `BankReader.at` says."""
        found = self._select("id = ?", number_of(file)) if self._found is None else []
        return found[0] if found else super().at(file)

    @property
    def count(self) -> int:
        """The number of tasks; this does not read their names."""
        return self.root.count

    @property
    def over(self) -> str:
        """The digest of the weights after all tasks; this does not read the tasks."""
        return self.root.over

    def last(self) -> TaskEntry | None:
        """Return the entry of the last task; the others are not read."""
        return self.at(file_of(self.root.last)) if self.root.count else None

    def task_sizes(self) -> dict[str, int]:
        """Return the bytes of each task, by its name."""
        with self.held():
            return dict(self._scan("name, bytes"))

    def sizes(self) -> dict[str, int]:
        """Return the bytes on disk of the database."""
        with storage(f"{self.path} cannot be read"):
            return {DATABASE: (self.path / DATABASE).stat().st_size}

    @contextmanager
    def held(self) -> Generator[None]:
        """Let nothing change inside of the context; writers wait.

        Raises:
            BankFormatError: a task was removed, renamed or replaced since the reader was made.
        """
        if self.connection.in_transaction():
            yield
            return
        with self.connection.transaction():
            if self._root().edits != self.root.edits:
                raise self._changed()
            yield

    def put_aside(self, entry: TaskEntry | FileEntry) -> None:
        """Write damaged bytes into a file beside the bank, if they can be read."""
        table, key, value = _place(entry)
        sql = f"SELECT content FROM {table} WHERE {key} = ? AND LENGTH(content) <= ?"
        for (content,) in self.connection.some(sql, value, self.sizes()[DATABASE]):
            if isinstance(content, bytes):
                write_file(free_name(self.path / Path(entry.file).name), content)

    @cached_property
    def damage(self) -> list[tuple[str, str]]:
        """What is damaged apart from the bytes of tasks and of what they share, as `BankReader.damage` says."""
        messages = [message for (message,) in self.connection.some("PRAGMA integrity_check(5)")] or ["it has no page"]
        try:
            _ = self.entries
        except BankFormatError as error:
            self._found = self._readable()
            messages.append(str(error))
        if messages == ["ok"]:  # are there rows that belong to no task?
            sql = "SELECT (SELECT COUNT(*) FROM tasks), (SELECT COUNT(*) FROM contents)"
            with self.held():
                found, count = self.connection.rows(sql), self._root().count
            if found != [(count, count)]:
                messages = [f"expected {count} tasks, found this many rows of tasks and of their bytes: {found[0]}"]
        return [(DATABASE, f"{self.path / DATABASE} is damaged: {m}") for m in messages if m != "ok"]

    def _readable(self) -> dict[str, TaskEntry]:
        """Return the entries of a damaged bank that can be read, from its beginning and from its end."""
        found = dict[str, TaskEntry]()
        for order in ("ASC", "DESC"):
            sql = f"SELECT {_COLUMNS} FROM tasks ORDER BY id {order} LIMIT ?"
            for row in self.connection.some(sql, self.root.count + 1):
                with suppress(BankFormatError), parsing("a row"):
                    entry = _entry(*row)
                    found[entry.name] = entry
        return dict(sorted(found.items(), key=lambda item: number_of(item[1].file)))

    def _listed(self) -> list[TaskEntry]:
        entries, total, root = list[TaskEntry](), 0, self.root
        with self.held(), parsing(f"{self.path / DATABASE} is damaged"):
            for row in self._scan(_COLUMNS):
                entries.append(_entry(*row))
                total += int.from_bytes(row[-1], "big")
        if len(entries) != root.count or total % 2**256 != root.total:
            raise self._damaged(f"expected {root.count:,} tasks, found {len(entries):,}, or others")
        return entries

    def _scan(self, columns: str) -> list[tuple[Any, ...]]:
        # One more than there should be, since a damaged database could have any number.
        where = "FROM tasks WHERE id <= ? ORDER BY id LIMIT ?"
        return self.connection.rows(f"SELECT {columns} {where}", self.root.last, self.root.count + 1)

    def _select(self, where: str, value: object) -> list[TaskEntry]:
        sql = f"SELECT {_COLUMNS} FROM tasks WHERE {where} AND id <= {self.root.last}"
        with self.held(), parsing(f"{self.path / DATABASE} is damaged"):
            return [_entry(*row) for row in self.connection.rows(sql, value)]

    def raw_root(self) -> bytes:
        """Return the content of the row `root` as it is now."""
        self._check_schema()
        return self._item("root")

    def _root(self) -> Root:
        with parsing(f"{self.path / DATABASE} has no valid root"):
            return Root.decode(self.raw_root())

    def _item(self, name: str, sha256: str = "") -> bytes:
        return self._content("items", "name", name, f"its {name}", 2**28, sha256)

    def _content(self, table: str, key: str, value: object, what: str, most: int, sha256: str) -> bytes:
        """Return bytes of the database, as `BankReader.read` says.

        Args:
            table: that has them, in a row with this `value` of the column `key`.
            key: as above.
            value: as above.
            what: names them in errors.
            most: the most bytes to accept.
            sha256: their digest; empty if only their row has it.
        """
        most = min(most, self.sizes()[DATABASE])
        kept = "sha256" if table == "items" else "NULL"
        sql = f"SELECT {kept}, LENGTH(content), CASE WHEN LENGTH(content) <= ? THEN content END, TYPEOF(content)"
        rows = self.connection.rows(f"{sql} FROM {table} WHERE {key} = ?", most, value)
        stored, size, content, kind = rows[0] if rows else (None, 0, None, "null")
        digest = hashlib.sha256(content if isinstance(content, bytes) else b"")
        wrong = sha256 not in ("", digest.hexdigest())
        # Inside of a transaction, nobody but its own writer can have changed the root.
        if wrong and not self.connection.in_transaction() and not self.is_current():
            raise self._changed()
        if not rows:
            raise BankFormatError(
                f"{what} is missing: {self.path / DATABASE} does not have it now; open the bank again"
            )
        if content is None or kind != "blob":
            raise self._damaged(f"{what} has {size} bytes of the type {kind}, expected a blob of at most {most}")
        if wrong or (table == "items" and stored != digest.digest()):
            raise self._damaged(f"{what} is truncated or altered")
        return content

    def _check_schema(self) -> None:
        application, version, pages, journal = (
            self.connection.rows(f"PRAGMA {name}")[0][0]
            for name in ("application_id", "user_version", "page_count", "journal_mode")
        )
        if (application == APPLICATION and version == MOVED) or pages == 0:
            raise MovedError(f"{self.path} was converted by another process; open the bank again")
        if application != APPLICATION or version != VERSION:
            known = f"it is a bank of version {version}" if application == APPLICATION else "it is not a bank"
            raise BankFormatError(
                f"expected a bank of version {VERSION} in {self.path / DATABASE}, but {known}; use the version of the "
                "library that wrote it"
            )
        found = self.connection.rows("SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY name LIMIT 20")
        if found != _OBJECTS or journal == "wal":
            raise BankFormatError(
                f"{self.path / DATABASE} has other tables than a bank, or a journal of another kind; do not trust it"
            )

    def _changed(self) -> BankFormatError:
        return BankFormatError(f"{self.path} was changed by another process since it was opened; open the bank again")

    def _damaged(self, what: str) -> BankFormatError:
        return BankFormatError(
            f"{self.path / DATABASE} is damaged: {what}; restore it from a copy, or drop what is damaged by: "
            "supermasks bank repair"
        )


def _place(entry: FileEntry | TaskEntry) -> tuple[str, str, Any]:
    """Return the table, the column and the value by which the bytes of an entry are found."""
    if isinstance(entry, TaskEntry):
        return "contents", "id", number_of(entry.file)
    return "items", "name", re.split("[-.]", entry.file)[0]


def _entry(
    number: int, name: str, reference: int | None, after: str, size: int, sha256: bytes, sealed: bytes
) -> TaskEntry:
    """Return the entry of a row of `tasks`.

    Raises:
        ValueError: the row was altered; or another error that `parsing` turns into one of the library.
    """
    first = -1 if reference is None else reference
    if seal(number, name, reference, after, size, sha256) != sealed or not -1 <= first < number <= HIGHEST:
        raise ValueError(f"the row of task {name!r} was altered")
    return TaskEntry(file_of(number), sha256.hex(), name, "" if reference is None else file_of(reference), after)


class MovedError(BankFormatError):
    """The database was a bank, which has moved to another form since."""
