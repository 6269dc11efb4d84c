"""A bank at one moment, as it lies on the disk: what both of its forms share."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from safetensors.torch import load
from torch import Tensor

from supermasks.bank.header import BankHeader
from supermasks.changes import Change
from supermasks.encoding import decode_state
from supermasks.errors import BankFormatError, TaskError
from supermasks.files import parsing
from supermasks.moments import Moments
from supermasks.state import TaskState
from supermasks.task_info import check_name

DEEPEST = 8
"""The most tasks that are read to read one, where masks are coded relative to each other."""

KINDS = {
    "kept": "value of the backbone",
    "memory": "what is remembered as",
    "weights": "shared weight",
    "moments": "statistic",
}
"""What all tasks of a bank share, and what one of its tensors is called; each kind is stored once, by name."""


class FileEntry(NamedTuple):
    """Tensors that all tasks share.

    Attributes:
        file: their name in the bank, such as `kept.safetensors`.
        sha256: of their bytes.
    """

    file: str
    sha256: str


class TaskEntry(NamedTuple):
    """A task of the bank.

    Attributes:
        file: its name in the bank, `tasks/NNNNNN.safetensors`.
        sha256: of its bytes.
        name: of the task.
        reference: the `file` of the task that its mask is coded relative to; empty if it is coded alone.
        after: the digest of the weights after the task, if it trained some; otherwise empty.
    """

    file: str
    sha256: str
    name: str
    reference: str = ""
    after: str = ""


def identity(tasks: Iterable[str], moments: FileEntry | None) -> str:
    """Return a digest of the bytes of tasks, in the order of learning, and of the moments; names do not count.

    Args:
        tasks: the digest of each task.
        moments: of the tasks; None if nothing was counted.
    """
    return hashlib.sha256(json.dumps([[*tasks], moments and moments.sha256]).encode()).hexdigest()


class BankReader(ABC):
    """Reads a bank as it was at one moment, and checks each digest.

    Attributes:
        path: of the folder.
        header: what the tasks were learned over.
        shared: what all tasks share, by its kind (`KINDS`); a kind that the bank lacks is left out.
        living: whether the bank is a database, which can change. Otherwise it is a folder of files.
    """

    path: Path
    header: BankHeader
    shared: Mapping[str, FileEntry]
    living: bool
    _found: dict[str, TaskEntry] | None = None
    _numbered: Mapping[str, TaskEntry] | None = None
    _decoded: tuple[TaskEntry, Mapping[str, Change]] | None = None

    @abstractmethod
    def read(self, entry: FileEntry | TaskEntry, what: str, most: int) -> bytes:
        """Return bytes of the bank.

        Args:
            entry: says which, and their digest.
            what: names them in errors.
            most: the most bytes to accept.

        Raises:
            BankFormatError: they are missing, truncated, altered, or too many.
            StorageError: they cannot be read.
        """

    @abstractmethod
    def _listed(self) -> list[TaskEntry]:
        """Return the entry of each task, in the order of learning."""

    @abstractmethod
    def sizes(self) -> dict[str, int]:
        """Return the bytes on disk of each file, by its path in the folder."""

    @abstractmethod
    def put_aside(self, entry: TaskEntry | FileEntry) -> None:
        """Keep damaged bytes in a file beside the bank, with the ending .broken."""

    @cached_property
    def damage(self) -> list[tuple[str, str]]:
        """What is damaged apart from the bytes of tasks and of what they share: its name, and the problem.

        If something is, `entries` has only the tasks that can be read.
        """
        return []

    @property
    def entries(self) -> dict[str, TaskEntry]:
        """The entry of each task, by its name, in the order of learning."""
        if self._found is None:
            listed = self._listed()
            found = {entry.name: entry for entry in listed}
            if len(found) < len(listed):
                raise BankFormatError(f"{self.path} has two tasks of the same name; do not trust it")
            self._found = found
        return self._found

    def find(self, name: str) -> TaskEntry | None:
        """Return the entry of a task; None if the bank has none of this name."""
        return self.entries.get(name)

    @property
    def count(self) -> int:
        """The number of tasks."""
        return len(self.entries)

    @property
    def over(self) -> str:
        """The digest of the weights after all tasks; empty if none trained any."""
        return next((entry.after for entry in reversed(self.entries.values()) if entry.after), "")

    @property
    def identity(self) -> str:
        """What differs whenever other tasks, or moments, may have the same names; see `identity`."""
        return identity((entry.sha256 for entry in self.entries.values()), self.shared.get("moments"))

    def last(self) -> TaskEntry | None:
        """Return the entry of the last task; None if there is none."""
        return next(reversed(self.entries.values()), None)

    def task_sizes(self) -> dict[str, int]:
        """Return the bytes of each task, by its name."""
        sizes = self.sizes()
        return {name: sizes[entry.file] for name, entry in self.entries.items()}

    def at(self, file: str) -> TaskEntry:
        """Return the entry of the task with this `file`.

        Raises:
            BankFormatError: there is none.
        """
        if self._numbered is None:
            self._numbered = {entry.file: entry for entry in self.entries.values()}
        if file not in self._numbered:
            raise BankFormatError(f"{self.path} lacks the task in {file}, which a mask is coded relative to")
        return self._numbered[file]

    def chain(self, entry: TaskEntry) -> list[TaskEntry]:
        """Return the tasks that are needed to read one: itself, the task that it is coded relative to, and so on.

        Raises:
            BankFormatError: there are more than `DEEPEST`, or one is missing.
        """
        chain = [entry]
        while reference := chain[-1].reference:
            if len(chain) == DEEPEST:
                raise BankFormatError(
                    f"{self.path} needs more than {DEEPEST} tasks to read {entry.name!r}; do not trust it"
                )
            chain.append(self.at(reference))
        return chain

    def digests(self, name: str) -> list[str]:
        """Return the digests of all bytes that the state of a task is read from; none if names were not read.

        Raises:
            BankFormatError: see `chain`.
        """
        entry = None if self._found is None else self._found.get(name)
        return [] if entry is None else [link.sha256 for link in self.chain(entry)]

    def task(self, name: str) -> TaskState:
        """Return the state of a task.

        Raises:
            BankFormatError: its bytes are missing, truncated or altered, or its name is invalid.
            StorageError: they cannot be read.
        """
        entry = self.find(name)
        if entry is None:
            raise BankFormatError(f"{self.path} no longer has a task {name!r}; open the bank again")
        self.check_name(entry, name)
        return self.state(entry, name)

    def check_name(self, entry: TaskEntry, name: str) -> None:
        """Raise BankFormatError if the name of a task is invalid."""
        try:
            check_name(name)
        except TaskError as error:
            raise BankFormatError(
                f"{self.path / entry.file}: {error}, by BankFolder.rename or by: supermasks bank repair"
            ) from None

    def state(self, entry: TaskEntry, name: str = "task") -> TaskState:
        """Return the state of a task, even if its name in the bank is invalid.

        Args:
            entry: of the task.
            name: for the state.

        Raises:
            BankFormatError: its bytes are missing, truncated or altered.
            StorageError: they cannot be read.
        """
        chain, before = self.chain(entry), dict[str, Change]()
        decoded = self._decoded  # which another thread may replace
        if decoded is not None and decoded[0] in chain[1:]:  # so that each is read once, one after another
            chain, before = chain[: chain.index(decoded[0])], dict(decoded[1])
        state: TaskState | None = None
        for link in reversed(chain):
            state = decode_state(self.content(link), name, self.header.layout, before, self.path / link.file)
            before = state.changes
        assert state is not None  # the chain includes the task itself
        self._decoded = entry, state.changes
        return state

    def content(self, entry: TaskEntry) -> bytes:
        """Return the bytes of a task; they do not contain its name."""
        return self.read(entry, f"task {entry.name!r}", self.header.most_bytes())

    def raw(self, kind: str) -> bytes:
        """Return the bytes of what all tasks share; none if the bank lacks it."""
        entry = self.shared.get(kind)
        # The backbone may keep many more values than are masked.
        return b"" if entry is None else self.read(entry, "the bank", 4 * self.header.most_bytes())

    def tensors(self, kind: str) -> dict[str, Tensor]:
        """Return what all tasks share, by name; nothing if the bank lacks it.

        Raises:
            BankFormatError: it is missing, truncated or altered.
            StorageError: it cannot be read.
        """
        if not (content := self.raw(kind)):
            return {}
        with parsing(f"{self.path / self.shared[kind].file} is not a safetensors file"):
            return load(content)

    def moments(self) -> Moments | None:
        """Return what the tasks share to recognise inputs by; None if nothing was counted."""
        if not (stored := self.tensors("moments")):
            return None
        with parsing(f"{self.path / self.shared['moments'].file} does not hold the statistics of tasks"):
            return Moments.from_tensors(stored)
