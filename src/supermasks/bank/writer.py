"""Changes a living bank, inside one transaction."""

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, NamedTuple

from torch import Tensor

from supermasks.bank.database import HIGHEST, SCHEMA, DatabaseReader, Root, file_of, number_of, seal
from supermasks.bank.header import BankHeader
from supermasks.bank.reader import DEEPEST, KINDS, TaskEntry
from supermasks.bank.succession import Succession, require_new
from supermasks.changes import Change
from supermasks.encoding import encode_state, encode_tensors
from supermasks.errors import BankFormatError, StorageError, TaskError
from supermasks.masks import Mask
from supermasks.state import TaskState


class Known(NamedTuple):
    """What the next change of a bank needs not read again, if the bank is still the same.

    Attributes:
        total: `Root.total` of the bank that this holds for.
        union: of all masks, if known.
        last: the changes of the last task, and how many tasks must be read to read them; None if not known.
    """

    total: int = 0
    union: Mask | None = None
    last: tuple[Mapping[str, Change], int] | None = None


class BankWriter:
    """Changes a bank. Nothing is changed before the transaction of the connection is committed.

    Attributes:
        bank: as it is inside of the transaction.
        order: what a new task has to fit.

    Args:
        bank: of a connection with a transaction.
        relative: code masks relative to each other, where that is shorter.
        most_weights: masks over more weights are not read, unless a task is added that has as many.
        known: what an earlier writer knew.
    """

    def __init__(self, bank: DatabaseReader, relative: bool, most_weights: int, known: Known) -> None:
        self.bank, self._relative, self._most_weights = bank, relative, most_weights
        self._rows = bank.connection.rows
        self._before = bank.root
        same = known.total == bank.root.total and bank.root.count > 0
        self._last = known.last if same else None
        self.order = Succession(bank.header, bank.root.over, known.union if same else None)

    def known(self) -> Known:
        """Return what the next writer need not read."""
        return Known(self.bank.root.total, self.order.union, self._last)

    def add(self, state: TaskState) -> None:
        """Append a task.

        Raises:
            everything that `Succession.check` and `encode_state` raise.
            DuplicateTaskError: the bank has a task of this name.
            TaskError: the task takes too many bytes to be read again.
        """
        self._require_new(state.name)
        self.order.check(state, self._masks)
        before, depth, file = self._reference()
        content, relative = encode_state(state, self.bank.header.layout, before)
        self._fitting(f"task {state.name!r}", content)
        number, reference = self.bank.root.last + 1, file if relative else ""
        entry = TaskEntry(file_of(number), "", state.name, reference, self.order.add(state))
        self.insert(entry, content)
        self._last = state.changes, depth + 1 if relative else 1

    def insert(self, entry: TaskEntry, content: bytes) -> None:
        """Append the bytes of a task; the digest of its entry is computed."""
        number, root = number_of(entry.file), self.bank.root
        if number >= HIGHEST:
            raise BankFormatError(f"{self.bank.path} has a task with the highest possible number; make a new bank")
        row = _row(entry, len(content), hashlib.sha256(content).digest())
        self._rows("INSERT INTO tasks VALUES (?, ?, ?, ?, ?, ?, ?)", *row)
        self._rows("INSERT INTO contents VALUES (?, ?)", number, content)
        self._now(row[-1], count=root.count + 1, last=number, over=entry.after or root.over)

    def share(self, kind: str, tensors: Mapping[str, Tensor]) -> None:
        """Replace what all tasks share.

        Args:
            kind: one of `KINDS`.
            tensors: by name; nothing stands for a kind that the bank lacks.

        Raises:
            TaskError: they cannot be stored, or take too many bytes to be read again.
        """
        self.put(kind, self._fitting(kind, encode_tensors(tensors, KINDS[kind]) if tensors else b"", 4))

    def begin_anew(self, header: BankHeader, kept: Mapping[str, Tensor]) -> None:
        """Drop everything, and start another bank in its place."""
        for table in SCHEMA:
            self._rows(f"DELETE FROM {table}")
        self.bank.take(Root({}, edits=self.bank.root.edits + 1))
        self._last, self.order = None, Succession(header)
        self.set_header(header)
        self.share("kept", kept)

    def set_header(self, header: BankHeader) -> None:
        """Replace the header."""
        self.put("header", json.dumps(header.described()).encode())
        self.bank.header = header

    def rename(self, entry: TaskEntry, new: str) -> None:
        """Give a task another name.

        Raises:
            DuplicateTaskError: another task has the new name.
        """
        self._require_new(new)
        self._replace_row(entry, entry._replace(name=new))
        self._now(edits=self.bank.root.edits + 1)

    def drop(self, files: Collection[str]) -> None:
        """Take out these tasks; masks that are coded relative to one of them are coded anew.

        The moments go with the last task.

        Raises:
            BankFormatError: one of those masks cannot be read.
            StorageError: it cannot be read or written.
        """
        entries = list(self.bank.entries.values())
        self._code_alone(files)
        for number in map(number_of, files):
            ((sealed,),) = self._rows("SELECT seal FROM tasks WHERE id = ?", number)
            for table in ("tasks", "contents"):
                self._rows(f"DELETE FROM {table} WHERE id = ?", number)
            self._now(minus=sealed, count=self.bank.root.count - 1)
        left = [entry for entry in entries if entry.file not in files]
        over = next((entry.after for entry in reversed(left) if entry.after), "")
        last = number_of(left[-1].file) if left else -1
        self._now(last=last, over=over, edits=self.bank.root.edits + 1)
        self._last, self.order = None, Succession(self.bank.header, over)
        if not left:  # the next task is the first one, so its inputs say how features are computed
            self.share("moments", {})

    def replace(self, entry: TaskEntry, state: TaskState) -> None:
        """Put another state in the place of a task.

        Args:
            entry: of the task.
            state: with the same name, over the same weights.

        Raises:
            MaskError: see `Succession.check_replaces`.
            TaskError: the task takes too many bytes to be read again.
            BankFormatError: a mask that is coded relative to the task's mask cannot be read.
            StorageError: it cannot be read or written.
        """
        self.order.check_changes(state)  # first: a task is read only if it has as many weights as this one
        entries = list(self.bank.entries.values())
        owners = (
            self.bank.state(each).renamed(each.name) for each in entries[entries.index(entry) + 1 :] if each.after
        )
        self.order.check_replaces(state, self.bank.state(entry), owners)
        self._code_alone({entry.file})
        content = self._fitting(f"task {state.name!r}", encode_state(state, self.bank.header.layout)[0])
        self._replace_row(entry, entry._replace(reference=""), content)
        self._now(edits=self.bank.root.edits + 1)
        self._last, self.order = None, Succession(self.bank.header, self.bank.root.over)

    def put(self, name: str, content: bytes) -> None:
        """Write an item, unless it is there already. No bytes stand for no item."""
        items, digest = dict(self.bank.root.items), hashlib.sha256(content).hexdigest()
        if content and items.get(name) != digest:
            self._write(name, content, digest)
            self._now(items={**items, name: digest})
        elif name in items and not content:
            self._rows("DELETE FROM items WHERE name = ?", name)
            del items[name]
            self._now(items=items)

    def finish(self) -> None:
        """Write the root, if anything changed; the caller commits."""
        if self.bank.root != self._before:
            content = self.bank.root.encode()
            self._write("root", content, hashlib.sha256(content).hexdigest())
            self._before = self.bank.root

    def _write(self, name: str, content: bytes, digest: str) -> None:
        # An update: SQLite writes only the pages that differ.
        upsert = "ON CONFLICT (name) DO UPDATE SET sha256 = excluded.sha256, content = excluded.content"
        self._rows(f"INSERT INTO items VALUES (?, ?, ?) {upsert}", name, bytes.fromhex(digest), content)

    def _code_alone(self, files: Collection[str]) -> None:
        """Code masks that are coded relative to one of these tasks anew, without it; those of the tasks stay."""
        for entry in list(self.bank.entries.values()):
            if entry.reference in files and entry.file not in files:
                self.bank.header.check_size(self._most_weights)
                content, _ = encode_state(self.bank.state(entry), self.bank.header.layout)
                self._replace_row(entry, entry._replace(reference=""), content)

    def _now(self, plus: bytes = b"", minus: bytes = b"", **changes: Any) -> None:
        """Take over a changed root, with one seal more in its total, and another one less."""
        total = self.bank.root.total + int.from_bytes(plus, "big") - int.from_bytes(minus, "big")
        self.bank.take(replace(self.bank.root, total=total % 2**256, **changes))

    def _fitting(self, what: str, content: bytes, times: int = 1) -> bytes:
        if len(content) > (most := times * self.bank.header.most_bytes()):
            raise TaskError(f"expected {what} to take at most {most:,} bytes, got {len(content):,}; keep fewer values")
        return content

    def _replace_row(self, before: TaskEntry, after: TaskEntry, content: bytes | None = None) -> None:
        number = number_of(before.file)
        ((size, sealed),) = self._rows("SELECT bytes, seal FROM tasks WHERE id = ?", number)
        sha256 = bytes.fromhex(before.sha256)
        if content is not None:
            size, sha256 = len(content), hashlib.sha256(content).digest()
            self._rows("UPDATE contents SET content = ? WHERE id = ?", content, number)
        row = _row(after, size, sha256)
        columns = "name = ?, reference = ?, after = ?, bytes = ?, sha256 = ?, seal = ?"
        self._rows(f"UPDATE tasks SET {columns} WHERE id = ?", *row[1:], number)
        self._now(row[-1], sealed)

    def _require_new(self, name: str) -> None:
        require_new(name, [name] if self._rows("SELECT 1 FROM tasks WHERE name = ?", name) else [])

    def _masks(self) -> Iterator[Mask]:
        shapes = self.bank.header.shapes
        return (self.bank.state(entry).uses(shapes) for entry in self.bank.entries.values())

    def _reference(self) -> tuple[Mapping[str, Change] | None, int, str]:
        """Return what the next task may be coded relative to, how many tasks that takes to read, and its file."""
        last = self.bank.last() if self._relative else None
        if last is None:
            return None, 0, ""
        if self._last is None:
            with suppress(BankFormatError, StorageError):  # the new task is then coded without a reference
                if (depth := len(self.bank.chain(last))) < DEEPEST:
                    self._last = self.bank.state(last).changes, depth
        before, depth = self._last or (None, DEEPEST)
        return (before if depth < DEEPEST else None), depth, last.file


def _row(entry: TaskEntry, size: int, sha256: bytes) -> tuple[Any, ...]:
    """Return the row of a task."""
    reference = number_of(entry.reference) if entry.reference else None
    row = (number_of(entry.file), entry.name, reference, entry.after, size, sha256)
    return (*row, seal(*row))
