"""The bank of task states, in the order of learning. Stored tasks are read when they are first used."""

import difflib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from supermasks.bank.bytes import BankBytes, measure
from supermasks.bank.database import file_of
from supermasks.bank.header import MOST_WEIGHTS, BankHeader
from supermasks.bank.reader import KINDS, BankReader, TaskEntry
from supermasks.bank.recent import RecentStates
from supermasks.bank.shared import manifest_of
from supermasks.bank.succession import Succession, added, check_left, require_new, with_task, written
from supermasks.bases import Base, base_from_recipe
from supermasks.brief import brief, counted, expect, listed
from supermasks.encoding import encode_state, encode_tensors
from supermasks.errors import BaseMismatchError, ConfigError, MaskError, TaskError, UnknownTaskError
from supermasks.masks import Mask
from supermasks.moments import ClassMeans, Moments
from supermasks.network import Network
from supermasks.own_copy import settled_names
from supermasks.state import ReadOnlyTensors, TaskState
from supermasks.task_info import check_name
from supermasks.weights import Weights

HINTS = 20
"""An error names so many unknown tasks at most, and looks for similar names."""

CACHE_BYTES = 64 << 20
"""How many bytes of tasks from a folder stay in memory by default."""


class MaskBank:
    """The states of the learned tasks, by name, in the order of learning; a state never changes.

    If the bank was opened from a folder, a task is read when it is first used. The tasks that were used last stay in
    memory, up to `cache_bytes`.

    Attributes:
        changes: how often tasks were added, renamed or removed; results that depend on the tasks are valid until it
            changes.

    Args:
        header: what the tasks are learned over.
        kept: the values of the backbone that the recipe cannot rebuild (`Network.kept`), once for all tasks.
        stored: a bank on the disk, whose tasks are read when they are first used. The names of many tasks are, too.
        cache_bytes: the most bytes of stored tasks to keep in memory.
        most_weights: masks over more weights are only read after `check` has compared them with a network.
        union: of all stored masks, if known.

    Example:
        >>> import torch
        >>> from supermasks import Network
        >>> from supermasks.bases import RandomBase
        >>> from supermasks.changes import Masked
        >>> from supermasks.masks import Mask
        >>> from supermasks.task_info import TaskInfo
        >>> network = Network(torch.nn.Linear(2, 2, bias=False), RandomBase(0))
        >>> bank = MaskBank(BankHeader.of(network))
        >>> for name in ("cats", "dogs"):
        ...     changes = Masked.of(Mask.pack({"weight": torch.eye(2) == 1}))
        ...     bank.add(TaskState(TaskInfo(name, ("no", "yes"), (2,)), changes))
        >>> bank.rename("dogs", "hounds")
        >>> bank.names, bank["hounds"].mask.count(), bank.subset(["cats"]).names
        (['cats', 'hounds'], 2, ['cats'])
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
        self._known: dict[str, _Task] | None = {} if stored is None else None
        self._order = Succession(header, "" if stored is None else stored.over, union)
        self._recent = RecentStates(cache_bytes)
        self._checked = False

    @property
    def _tasks(self) -> dict[str, "_Task"]:
        if self._known is None:
            assert self._stored is not None  # only then it is None
            self._known = {name: _Task(None, e.after, e.sha256) for name, e in self._stored.entries.items()}
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
        return f"MaskBank({counted(len(self), 'task')}{names}; masks of {counted(self.header.weights(), 'weight')})"

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

    def reuse(self, older: "MaskBank") -> None:
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

    def count(self, moments: Moments | None, means: Mapping[str, ClassMeans]) -> None:
        """Replace what was counted of the tasks.

        Args:
            moments: what the tasks share from now on.
            means: for tasks by name, the means of their classes; the other tasks keep theirs.

        Raises:
            UnknownTaskError: the bank has no task of one of the names.
        """
        states = {name: replace(self[name], means=of) for name, of in means.items()}
        self.changes += 1
        for state in states.values():
            self._change(state)
        self._once["moments"] = moments

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

    def require_new(self, name: str) -> None:
        """Raise DuplicateTaskError if a task has this name."""
        require_new(name, self)

    def add(
        self, state: TaskState, weights: Mapping[str, Tensor] | None = None, moments: Moments | None = None
    ) -> None:
        """Append a state.

        Args:
            state: of the task.
            weights: all shared weights, if the task has trained them.
            moments: what was counted of this task, if it was; a task that was removed may leave it out.

        Raises:
            DuplicateTaskError: the bank has a task of this name.
            MaskError: the task changes other parameters than the bank's, was learned over other weights than its
                tasks leave, or would change weights that one of them uses.
                The moments are not those of this task.
            BaseMismatchError: other features were counted than of the tasks in the bank.
        """
        expect(state, TaskState, "what is added to a bank")
        check_left(state, weights)
        self._append(state, moments)
        if state.replaced and weights is not None:
            self._once["weights"] = ReadOnlyTensors(weights)

    def _append(self, state: TaskState, moments: Moments | None = None) -> None:
        self.require_new(state.name)
        self._order.check(state, self._masks)
        if state.means is not None or moments is not None:  # otherwise stored moments are not read
            self._once["moments"] = with_task(self.moments, state, moments)
        self.changes += 1
        self._tasks[state.name] = _Task(state, self._order.add(state))

    def replace(self, state: TaskState) -> None:
        """Replace a task of the same name; its place in the order of learning stays.

        Args:
            state: over the same weights as the one before.

        Raises:
            UnknownTaskError: the bank has no task of this name.
            MaskError: the task changes other parameters than the bank's, or one of the two has trained shared weights,
                or they were learned over different weights.
        """
        expect(state, TaskState, "what replaces a task of a bank")
        self._order.check_changes(state)
        self._order.check_replaces(state, self[state.name])
        self._order.union = None
        self.changes += 1
        self._change(state)

    def _change(self, state: TaskState) -> None:
        self._recent.forget(state.name)
        self._tasks[state.name] = self._tasks[state.name]._replace(state=state, sha256="")

    def rename(self, name: str, new: str) -> None:
        """Give a task another name; its place in the order of learning stays.

        Raises:
            UnknownTaskError: the bank has no task of this name.
            DuplicateTaskError: another task has the new name.
            TaskError: the new name is not a printable string, or empty.
        """
        state = self[name]
        check_name(new)
        if new == name:
            return
        self.require_new(new)
        self.changes += 1
        self._recent.forget(name)
        # Its digest stays: the file of a task does not contain its name.
        renamed = self._tasks[name]._replace(state=state.renamed(new))
        self._known = {new if n == name else n: renamed if n == name else task for n, task in self._tasks.items()}

    def remove(self, name: str) -> TaskState:
        """Remove a task from the bank, and return its state.

        Raises:
            UnknownTaskError: the bank has no task of this name.
            TaskError: the task has trained shared weights, which later tasks use.
        """
        state = self[name]
        if self.after(name):
            raise owner_stays(name)
        self.changes += 1
        self._order.union = None
        self._recent.forget(name)
        del self._tasks[name]
        return state

    def subset(self, names: Iterable[str]) -> "MaskBank":
        """Return a new bank with some of the tasks, in the order of learning.

        The new bank has the memory of this one only if it has all tasks.

        Args:
            names: of the tasks. A task that was learned over trained weights needs all tasks that trained them.

        Raises:
            ConfigError: the names are a single string.
            UnknownTaskError: the bank has no task of one of the names.
            MaskError: a task was learned over weights that the chosen tasks do not leave.
        """
        if isinstance(names, str) or not isinstance(names, Iterable):
            raise ConfigError(f"expected a list of task names, got {names!r}; write tasks=[{names!r}]")
        wanted = set[str]()
        for name in names:
            if name not in self:
                raise unknown_tasks([name], self.names)
            wanted.add(name)
        kept = {name: task for name, task in self._tasks.items() if name in wanted}
        if self.over:
            self._check_owners(kept)
        after = filter(None, (task.after for task in reversed(kept.values())))
        chosen = self._with(kept, Succession(self.header, next(after, "")))
        if len(kept) < len(self):
            chosen.memory = {}
        return chosen

    def _with(self, tasks: dict[str, "_Task"], order: Succession) -> "MaskBank":
        """Return another bank with these tasks. States in memory are shared; each bank reads the others itself."""
        made = copy(self)
        made._known, made._once, made._order = tasks, dict(self._once), order
        made._recent = RecentStates(self._recent.limit)
        return made

    def _check_owners(self, names: Collection[str]) -> None:
        """Raise MaskError unless tasks can do without the others."""
        owners, left = self.owners, Succession(self.header)
        # If all shared weights were trained, only the last weights are there.
        over = {self._tasks[owners[-1]].after} if self.shares("weights") else {self[name].over for name in names}
        after = [self._tasks[name].after for name in owners]
        needed = {name for each in over if each in after for name in owners[: after.index(each) + 1]}
        if lacking := [name for name in owners if name in needed.difference(names)]:
            raise MaskError(
                f"a task was learned over the weights that {lacking} own; load these too: "
                f"tasks={[name for name in self.names if name in needed.union(names)]}"
            )
        for name in names:  # notices damage
            left.check_follows(self[name])
            left.add(self[name])

    def merge(self, other: "MaskBank") -> None:
        """Append all tasks of another bank over the same base, or none of them if one cannot be added.

        If this bank has no memory, it takes that of the other bank. What was counted of the tasks of both is added up.

        Raises:
            BaseMismatchError: the other bank was learned over another network, or other features were counted of its
                tasks.
            DuplicateTaskError: both banks have a task of the same name.
            MaskError: a task was learned over weights that the tasks of this bank do not leave, or would change
                weights that one of them uses. Or some tasks were counted in both banks, and others in one of them.
        """
        expect(other, MaskBank, "the bank to merge")
        if differing := self.header.differing(other.header):
            raise BaseMismatchError(
                f"expected a bank over the same network, got one that differs in {', '.join(differing)}; merge only "
                "banks with the same backbone, base, norm and head"
            )
        both = self._with(dict(self._tasks), replace(self._order))
        both._once["moments"] = added(self.moments, other.moments)
        if not self.shares("memory"):
            both._once["memory"] = other.memory
        last = None
        for state in other:
            both._append(state)
            last = state if state.replaced else last
        if last is not None:
            check_left(last, other.weights)
            both._once["weights"] = other.weights
        self._known, self._once, self._order = both._known, both._once, both._order
        self.changes += 1

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


class _Task(NamedTuple):
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
    def __init__(self, bank: MaskBank) -> None:
        # The tasks of this moment: tasks that are added later do not count as the past of a task under training.
        self._bank, self._names = bank, bank.names

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: Any) -> Any:
        chosen = self._names[index]
        return self._bank[chosen] if isinstance(chosen, str) else [self._bank[name] for name in chosen]


def owner_stays(name: str) -> TaskError:
    """Return the error for removing a task that has trained shared weights."""
    return TaskError(
        f"task {name!r} cannot be removed: it has trained shared weights, which later tasks use; learn the other tasks "
        "anew without it"
    )


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
