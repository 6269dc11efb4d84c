"""Reads the files that a manifest names."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from supermasks.bank.files import read_file
from supermasks.bank.manifest import MANIFEST, FileEntry, Manifest, TaskEntry
from supermasks.changes import Change
from supermasks.encoding import decode_state
from supermasks.errors import BankFormatError, TaskError
from supermasks.moments import Moments
from supermasks.state import TaskState
from supermasks.task_info import check_name


@dataclass(frozen=True)
class BankReader:
    """Reads tasks and tensors of a bank, as of the time its manifest was read; checks each digest.

    Attributes:
        path: of the folder.
        manifest: of the bank.
    """

    path: Path
    manifest: Manifest

    @cached_property
    def entries(self) -> Mapping[str, TaskEntry]:
        """The entry of each task in the manifest, by its name."""
        entries = {entry.name: entry for entry in self.manifest.tasks}
        if len(entries) < len(self.manifest.tasks):
            raise BankFormatError(f"{self.path / MANIFEST} has two tasks of the same name; do not trust it")
        return entries

    @property
    def after(self) -> dict[str, str]:
        """For each task the digest of the weights after it; "" if it trained none."""
        return {name: entry.after for name, entry in self.entries.items()}

    @cached_property
    def by_file(self) -> Mapping[str, TaskEntry]:
        """The entry of each task in the manifest, by its file."""
        return {entry.file: entry for entry in self.manifest.tasks}

    def chain(self, entry: TaskEntry) -> list[TaskEntry]:
        """Return the tasks that are needed to read one: itself, the task that it is coded relative to, and so on."""
        chain = [entry]
        while chain[-1].reference:
            chain.append(self.by_file[chain[-1].reference])  # always an earlier task: the manifest was checked
        return chain

    def task(self, name: str) -> TaskState:
        """Return the state of a task.

        Raises:
            BankFormatError: a file is missing, truncated or altered, or the name of the task is invalid.
            StorageError: a file cannot be read.
        """
        entry = self.entries[name]
        try:
            check_name(name)
        except TaskError as error:
            raise BankFormatError(
                f"{self.path / entry.file}: {error}, by BankFolder.rename or by: supermasks bank repair"
            ) from None
        return self.state(entry, name)

    def state(self, entry: TaskEntry, name: str = "task") -> TaskState:
        """Return the state of a task, even if its name in the manifest is invalid.

        Args:
            entry: of the task.
            name: for the state.

        Raises:
            BankFormatError: a file is missing, truncated or altered.
            StorageError: a file cannot be read.
        """
        before: Mapping[str, Change] = {}
        state: TaskState | None = None
        for link in reversed(self.chain(entry)):
            state = decode_state(self.content(link), name, self.manifest.header.layout, before, self.path / link.file)
            before = state.changes
        assert state is not None  # the chain includes the task itself
        return state

    def content(self, entry: TaskEntry) -> bytes:
        """Return the content of the file of a task.

        Raises:
            BankFormatError: the file is missing, truncated or altered.
            StorageError: the file cannot be read.
        """
        most = self.manifest.header.most_bytes()
        return read_file(self.path / entry.file, entry.sha256, f"task {entry.name!r}", most)

    def memory(self) -> dict[str, Tensor]:
        """Return what the next task may begin with.

        Raises:
            BankFormatError: the file is missing, truncated or altered.
        """
        return self.tensors(self.manifest.memory)

    def weights(self) -> dict[str, Tensor]:
        """Return the shared weights, if a task has trained all of them.

        Raises:
            BankFormatError: the file is missing, truncated or altered.
        """
        return self.tensors(self.manifest.weights)

    def moments(self) -> Moments | None:
        """Return what the tasks share to recognise inputs by; None if nothing was counted.

        Raises:
            BankFormatError: the file is missing, truncated or altered.
            StorageError: the file cannot be read.
        """
        entry = self.manifest.moments
        if entry is None:
            return None
        stored = self.tensors(entry)
        try:
            return Moments.from_tensors(stored)
        except ValueError as error:
            raise BankFormatError(f"{self.path / entry.file} does not hold the statistics of tasks: {error}") from error

    def tensors(self, entry: FileEntry | None) -> dict[str, Tensor]:
        """Return the tensors in a file; none if there is no file.

        Raises:
            BankFormatError: the file is missing, truncated or altered.
            StorageError: the file cannot be read.
        """
        if entry is None:
            return {}
        try:
            # The backbone may keep many more values than are masked.
            most = 4 * self.manifest.header.most_bytes()
            return load(read_file(self.path / entry.file, entry.sha256, "the bank", most))
        except SafetensorError as error:
            raise BankFormatError(f"{self.path / entry.file} is not a safetensors file: {error}") from error
