"""What a bank holds, in the order of learning. Stored tasks are read when they are first used."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from supermasks.bank.bytes import BankBytes, measure
from supermasks.bank.database import file_of
from supermasks.bank.header import MOST_WEIGHTS, BankHeader
from supermasks.bank.reader import KINDS, BankReader, TaskEntry, identity
from supermasks.bank.recent import RecentStates
from supermasks.bank.shared import manifest_of
from supermasks.bank.succession import Succession, written
from supermasks.bases import Base, base_from_recipe
from supermasks.brief import brief, counted, expect, listed
from supermasks.encoding import encode_state, encode_tensors
from supermasks.errors import BaseMismatchError, UnknownTaskError
from supermasks.masks import Mask
from supermasks.moments import Moments
from supermasks.network import Network
from supermasks.own_copy import settled_names
from supermasks.state import ReadOnlyTensors, TaskState
from supermasks.weights import Weights

HINTS = 20
"""An error names so many unknown tasks at most, and looks for similar names."""

CACHE_BYTES = 64 << 20
"""How many bytes of tasks from a folder stay in memory by default."""


class BankContents:
    """The states of learned tasks, and what the tasks share; in memory, or in a folder until they are used.

    Arguments and attributes are those of `MaskBank`, which changes the contents.
    """

    def __init__(
        self,
        header: BankHeader,
        kept: Mapping[str, Tensor] | None = None,
        stored: BankReader | None = None,
        cache_bytes: int = CACHE_BYTES,
        most_weights: int = MOST_WEIGHTS,
        union: Mask | None = None,
    ) -> None:
        self.header = header
        self.kept: Mapping[str, Tensor] = ReadOnlyTensors(kept or {})
        self._stored = stored
        self._most_weights = most_weights
        self.changes = 0
        nothing = {"memory": ReadOnlyTensors({}), "weights": ReadOnlyTensors({}), "moments": None}
        # What all tasks share. Kinds that are not here yet are stored, and read when they are first used.
        self._once: dict[str, Any] = {k: v for k, v in nothing.items() if stored is None or k not in stored.shared}
        # None until the names of the stored tasks are needed.
        self._known: dict[str, StoredTask] | None = {} if stored is None else None
        self._order = Succession(header, "" if stored is None else stored.over, union)
        self._recent = RecentStates(cache_bytes)
        self._checked = False

    @property
    def _tasks(self) -> dict[str, "StoredTask"]:
        if self._known is None:
            assert self._stored is not None  # only then it is None
            self._known = {name: StoredTask(None, e.after, e.sha256) for name, e in self._stored.entries.items()}
        return self._known

    def __len__(self) -> int:
        if self._known is None and self._stored is not None:
            return self._stored.count
        return len(self._tasks)

    def __iter__(self) -> Iterator[TaskState]:
        return (self[name] for name in self.names)

    def __contains__(self, name: object) -> bool:
        if self._known is None and self._stored is not None:
            return isinstance(name, str) and self._stored.find(name) is not None
        return isinstance(name, str) and name in self._tasks

    def __repr__(self) -> str:
        names = f" {listed(self.names)}" if len(self) else ""
        tasks, weights = counted(len(self), "task"), counted(self.header.weights(), "weight")
        return f"{type(self).__name__}({tasks}{names}; masks of {weights})"

    def __getitem__(self, name: str) -> TaskState:
        """Return the state of a task.

        Raises:
            UnknownTaskError: the bank has no task of this name.
            BankFormatError: its file is missing, truncated or altered, or it has more weights than are read without a
                network (see `check`).
            StorageError: its file cannot be read.
        """
        if name not in self:
            raise unknown_tasks([name], self.names)
        state = None if self._known is None else self._known[name].state
        if state is None:
            assert self._stored is not None  # only then a state is None
            self._require_size()
            state = self._recent.get(name, self._stored.task)
        return state

    def get(self, name: str) -> TaskState | None:
        """Return the state of a task; None if no task has this name."""
        if name not in self:
            return None
        return self[name]

    def in_memory(self, name: str) -> TaskState | None:
        """Return the state of a task if it need not be read from the disk; otherwise None."""
        task = self._tasks.get(name)
        return None if task is None else task.state or self._recent.peek(name)

    def reuse(self, older: "BankContents") -> None:
        """Take over what an older view of the same folder has in memory of tasks that are the same, bit for bit.

        Args:
            older: opened from the same folder, before other processes changed the bank.
        """
        if self._stored is None or older._stored is None or self.header.layout != older.header.layout:
            return
        names = self._tasks
        for name, state in older._recent.items():
            if name in names and (digests := self._stored.digests(name)) and digests == older._stored.digests(name):
                self._recent.get(name, lambda _, state=state: state)

    def encoded(self, name: str) -> bytes:
        """Return the bytes of a task, as its file in a shared bank has them; they can be read without other tasks.

        Raises:
            SupermasksError: everything that `bank[name]` raises, and LabelError if a class label cannot be stored.
        """
        return encode_state(self[name], self.header.layout)[0]

    @property
    def names(self) -> list[str]:
        """The names of the tasks, in the order of learning."""
        return list(self._tasks)

    @property
    def last(self) -> str | None:
        """The name of the task that was learned last; None without tasks. The other names are not read."""
        if self._known is None and self._stored is not None:
            entry = self._stored.last()
            return None if entry is None else entry.name
        return next(reversed(self._tasks), None)

    @property
    def states(self) -> Sequence[TaskState]:
        """The states in the order of learning, each read when it is used."""
        return _States(self)

    @property
    def memory(self) -> Mapping[str, Tensor]:
        """What the next task may begin with, by name; only training needs it."""
        return self._shared("memory")

    @memory.setter
    def memory(self, memory: Mapping[str, Tensor]) -> None:
        self._once["memory"] = ReadOnlyTensors(memory)

    @property
    def weights(self) -> Mapping[str, Tensor]:
        """The shared weights after the last task that trained all of them; empty if none did."""
        return self._shared("weights")

    @property
    def moments(self) -> Moments | None:
        """What the tasks share to recognise inputs by; None if nothing was counted."""
        return self._shared("moments")

    def shares(self, kind: str) -> bool:
        """Return whether the bank has "memory", "weights" or "moments"; this does not read them."""
        return kind not in self._once or bool(self._once[kind])

    def _shared(self, kind: str) -> Any:
        if kind not in self._once:
            assert self._stored is not None  # only then it is not there
            stored, tensors = self._stored, ReadOnlyTensors
            self._once[kind] = stored.moments() if kind == "moments" else tensors(stored.tensors(kind))
        return self._once[kind]

    def written(self, base: Weights) -> Weights:
        """Return the shared weights after all tasks.

        Args:
            base: the weights before any task.

        Raises:
            BankFormatError: the file of the weights, or of a task that owns some, is missing, truncated or altered.
            MaskError: the stored weights are not those that the last task left.
        """
        return written(base, [self[name] for name in self.owners], self.weights)

    @property
    def owners(self) -> list[str]:
        """The names of the tasks that have trained shared weights."""
        if not self.over:
            return []
        return [name for name, task in self._tasks.items() if task.after]

    @property
    def over(self) -> str:
        """The digest of the weights that a new task is learned over; empty while these are the base's."""
        return self._order.over

    def after(self, name: str) -> str:
        """Return the digest of the weights after a task; empty if it trained none."""
        return self._tasks[name].after

    def digest(self, name: str) -> str:
        """Return the digest of a task's file; empty if the task was not stored."""
        return self._tasks[name].sha256

    @property
    def identity(self) -> str | None:
        """What `BankReader.identity` was when the bank was opened; None if it was not, or has changed since."""
        if self._stored is None or self.changes:
            return None
        return identity((task.sha256 for task in self._tasks.values()), self._stored.shared.get("moments"))

    def is_stored_in(self, path: Path) -> bool:
        """Return whether tasks of this bank are read from a folder."""
        return self._stored is not None and self._stored.path.absolute() == path.absolute()

    def was_stored(self, stored: BankReader, moved: bool = False) -> None:
        """Note that all tasks were stored: a folder recognises tasks that it already has by their digests.

        Args:
            stored: a bank with the same tasks, memory, weights and moments.
            moved: from now on, read tasks from this bank, as is done if they were read from its folder before.
        """
        for name in self._tasks.keys() & stored.entries.keys():
            self._tasks[name] = self._tasks[name]._replace(sha256=stored.entries[name].sha256)
        if moved or self.is_stored_in(stored.path):
            self.stored_in(stored)

    def stored_in(self, stored: BankReader) -> None:
        """From now on, read stored tasks from another place, where they are the same."""
        _ = self._tasks  # their names are known from before
        self._stored = stored

    def tensors(self, kind: str) -> Mapping[str, Tensor]:
        """Return what all tasks share, as it is stored.

        Args:
            kind: "kept", "memory", "weights" or "moments".
        """
        if kind == "moments":
            return {} if self.moments is None else self.moments.tensors()
        return self.kept if kind == "kept" else self._shared(kind)

    def bytes(self) -> BankBytes:
        """Return the bytes that the bank takes as a shared bank in an empty folder, item by item.

        A bank on the disk may code masks relative to each other, which takes fewer bytes; see `BankFolder.bytes`.
        """
        digest = "0" * 64
        entries = [TaskEntry(file_of(n), digest, name, "", t.after) for n, (name, t) in enumerate(self._tasks.items())]
        tensors = {kind: self.tensors(kind) for kind in KINDS}
        sizes = {kind: len(encode_tensors(values, KINDS[kind])) if values else 0 for kind, values in tensors.items()}
        manifest = manifest_of(self.header, entries, {kind: digest for kind, size in sizes.items() if size}).encode()
        tasks = ((state, encode_state(state, self.header.layout)[0]) for state in self)
        return measure(tasks, len(manifest), sizes, self.memory)

    def network(
        self,
        backbone: nn.Module,
        base: Base | None = None,
        *,
        device: str | torch.device = "cpu",
        compiled: bool = False,
    ) -> Network:
        """Return the network before any task: backbone, base and kept values.

        Args:
            backbone: a module of the architecture that the bank was learned with.
            base: to use instead of the stored recipe; it must give the same weights.
            device: where to compute.
            compiled: compile the backbone by `torch.compile`.

        Raises:
            BaseMismatchError: the backbone or the base differs from that of the bank.
            ConfigError: the stored recipe names a class that was not imported; import it, or pass the base.
        """
        expect(backbone, nn.Module, "the backbone that the bank was learned with")
        header = self.header
        names = settled_names(backbone)
        if lacking := [name for name in header.shapes if name not in names]:
            raise BaseMismatchError(
                f"the bank was learned over {dict(header.base)} and masks {lacking}, which the backbone does not "
                f"have: it has {sorted(names)}; build it as it was when the bank was learned"
            )
        network = Network(
            backbone,
            base or base_from_recipe(header.base),
            select=list(header.shapes),
            norm=header.norm,
            head=header.head,
            device=device,
            compiled=compiled,
            kept=self.kept,
        )
        self.check(network)
        return network

    def check(self, network: Network) -> None:
        """Raise BaseMismatchError unless the bank was learned over this network; masks of any size are read then."""
        self.header.check(network)
        self._checked = True

    def union(self) -> Mask:
        """Return the mask of the weights that at least one task keeps."""
        if self._order.union is None:
            self._require_size()
            self._order.union = Mask.union(self._masks(), self.header.shapes)
        return self._order.union

    def _masks(self) -> Iterator[Mask]:
        return (state.uses(self.header.shapes) for state in self)

    def _require_size(self) -> None:
        """Raise BankFormatError if stored masks claim many weights, and were not compared with a network."""
        if self._stored is not None and not self._checked:
            self.header.check_size(self._most_weights)


class StoredTask(NamedTuple):
    """A task of a bank.

    Attributes:
        state: None if it is stored under the same name.
        after: the digest of the weights after the task; empty if it trained none.
        sha256: the digest of its file; empty if it was not stored.
    """

    state: TaskState | None
    after: str
    sha256: str = ""


class _States(Sequence[TaskState]):
    def __init__(self, bank: BankContents) -> None:
        # The tasks of this moment: tasks that are added later do not count as the past of a task under training.
        self._bank, self._names = bank, bank.names

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: Any) -> Any:
        chosen = self._names[index]
        return self._bank[chosen] if isinstance(chosen, str) else [self._bank[name] for name in chosen]


def unknown_tasks(wrong: Sequence[object], names: list[str]) -> UnknownTaskError:
    """Return the error for one or more tasks of which none is among these names; it shows the first of them."""
    if len(wrong) == 1 and not isinstance(wrong[0], str):
        return UnknownTaskError(
            f"the name of a task must be a string, got {brief(wrong[0])}; ask for one task at a time, by its name"
        )
    hints, held = list[str](), f"it holds {listed(names, 5) or 'no tasks'}"
    for name in wrong[:HINTS]:
        close = difflib.get_close_matches(name, names, n=3) if isinstance(name, str) else []
        hints.append(f"did you mean {' or '.join(map(repr, close))}?" if close else "")
    if len(wrong) == 1:
        return UnknownTaskError(f"the bank has no task {wrong[0]!r}; {hints[0] or held}")
    shown = [f"{brief(name)} ({hint})" if hint else brief(name) for name, hint in zip(wrong, hints, strict=False)]
    more = f" and {len(wrong) - HINTS} more" if len(wrong) > HINTS else ""
    return UnknownTaskError(f"the bank has no tasks {', '.join(shown)}{more}; {held}")
