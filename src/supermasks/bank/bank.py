"""The bank of task states, in the order of learning; what is stored is read when it is asked for."""

import difflib
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import overload

import torch
from torch import Tensor, nn

from supermasks.bank.bytes import BankBytes, measure
from supermasks.bank.header import BankHeader
from supermasks.bank.manifest import KEPT, FileEntry, Manifest, TaskEntry
from supermasks.bank.recent import RecentStates
from supermasks.bank.task_file import encode_state
from supermasks.bases import Base, base_from_recipe
from supermasks.brief import brief, counted, listed
from supermasks.errors import BaseMismatchError, DuplicateTaskError, MaskError, TaskError, UnknownTaskError
from supermasks.masks import Mask
from supermasks.network import Network, written_digest
from supermasks.own_copy import settled_names
from supermasks.state import ReadOnlyTensors, TaskState

CACHE_BYTES = 64 << 20
"""How much of what was read from a folder stays in memory, unless told otherwise."""


@dataclass(frozen=True)
class Stored:
    """The tasks of a bank that are read when they are asked for.

    Attributes:
        after: for each task, in the order of learning, the digest of the weights after it where it owns some, or "".
        digests: for each task a digest of what is stored.
        load: reads a task.
        memory: reads what the next task may begin with.
        union: of all masks, if that is known.
    """

    after: Mapping[str, str]
    digests: Mapping[str, str]
    load: Callable[[str], TaskState]
    memory: Callable[[], Mapping[str, Tensor]]
    union: Mask | None = None


class MaskBank:
    """The states of the learned tasks, by name, in the order of learning; a state never changes.

    Of a bank that was opened from a folder, a task is read when it is asked for. Those that were asked for last stay
    in memory, `cache_bytes` of them at most.

    Attributes:
        changes: how often its tasks were changed: what was made of them holds as long as this number.

    Args:
        header: what the tasks are learned over.
        kept: the values of the backbone that no recipe brings back (`Network.kept`), once for all tasks.
        stored: tasks that are there already.
        cache_bytes: how much of what was read stays in memory.

    Example:
        >>> import torch
        >>> from supermasks import Network
        >>> from supermasks.bases import RandomBase
        >>> from supermasks.masks import Mask
        >>> network = Network(torch.nn.Linear(2, 2, bias=False), RandomBase(0))
        >>> bank = MaskBank(BankHeader.of(network))
        >>> for name in ("cats", "dogs"):
        ...     bank.add(TaskState(name, ("no", "yes"), (2,), Mask.pack({"weight": torch.eye(2) == 1})))
        >>> bank.rename("dogs", "hounds")
        >>> bank.names, bank["hounds"].mask.count(), bank.subset(["cats"]).names
        (['cats', 'hounds'], 2, ['cats'])
    """

    def __init__(
        self,
        header: BankHeader,
        kept: Mapping[str, Tensor] | None = None,
        stored: Stored | None = None,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        self.header = header
        self.kept: Mapping[str, Tensor] = ReadOnlyTensors(kept or {})
        self._stored = stored
        self.changes = 0
        self._memory: Mapping[str, Tensor] | None = ReadOnlyTensors({}) if stored is None else None
        # None: the task is stored, under the same name.
        self._states: dict[str, TaskState | None] = dict.fromkeys(stored.after if stored else ())
        self._after: dict[str, str] = dict(stored.after) if stored else {}
        self._recent = RecentStates(cache_bytes)
        self._union = stored.union if stored else None

    def __len__(self) -> int:
        return len(self._states)

    def __iter__(self) -> Iterator[TaskState]:
        return (self[name] for name in self.names)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name in self._states

    def __repr__(self) -> str:
        weights = sum(prod(shape) for shape in self.header.shapes.values())
        names = f" {listed(self.names)}" if self._states else ""
        return f"MaskBank({counted(len(self), 'task')}{names}; masks of {counted(weights, 'weight')})"

    def __getitem__(self, name: str) -> TaskState:
        """Return the state of a task.

        Raises:
            UnknownTaskError: no task has this name, or it is no string.
            BankFormatError: its file is missing, truncated or altered.
        """
        if not isinstance(name, str):
            raise UnknownTaskError(
                f"the name of a task must be a string, got {brief(name)}; ask for one task at a time, by its name"
            )
        if name not in self._states:
            close = difflib.get_close_matches(str(name), self._states, n=3)
            hint = f"did you mean {' or '.join(map(repr, close))}?" if close else f"it holds {shortened(self.names)}"
            raise UnknownTaskError(f"the bank has no task {name!r}; {hint}")
        state = self._states[name]
        if state is None:
            assert self._stored is not None  # only then a state is None
            state = self._recent.get(name, self._stored.load)
        return state

    def get(self, name: str) -> TaskState | None:
        """Return the state of a task; None if no task has this name."""
        if name not in self:
            return None
        return self[name]

    @property
    def names(self) -> list[str]:
        """The names of the tasks, in the order of learning."""
        return list(self._states)

    @property
    def states(self) -> Sequence[TaskState]:
        """The states in the order of learning, each read when it is asked for."""
        return _States(self)

    @property
    def memory(self) -> Mapping[str, Tensor]:
        """What the next task may begin with, by name; only training needs it."""
        if self._memory is None:
            assert self._stored is not None  # only then it is None
            self._memory = ReadOnlyTensors(self._stored.memory())
        return self._memory

    @memory.setter
    def memory(self, memory: Mapping[str, Tensor]) -> None:
        self._memory = ReadOnlyTensors(memory)

    @property
    def owners(self) -> list[str]:
        """The names of the tasks that own weights."""
        return [name for name, after in self._after.items() if after]

    @property
    def over(self) -> str:
        """The digest of the weights that a new task is learned over; empty while they are those of the base."""
        return _left_by(self._after)

    def after(self, name: str) -> str:
        """Return the digest of the weights after a task, if it owns some; empty otherwise."""
        return self._after[name]

    def digest(self, name: str) -> str:
        """Return the digest of what is stored of a task; empty if it is not stored."""
        return "" if self._stored is None or self._states[name] is not None else self._stored.digests[name]

    def require_new(self, name: str) -> None:
        """Raise DuplicateTaskError if a task has this name."""
        _require_new(name, self._states)

    def add(self, state: TaskState) -> None:
        """Append a state.

        Raises:
            DuplicateTaskError: a task of this name is in the bank.
            MaskError: mask and dense weights are not over the parameters of this bank, the task was learned over
                weights that the tasks of this bank do not leave, or it would change weights that one of them uses.
        """
        check_follows(state, self._after, self.header)
        if _is_exclusive(state):
            check_spares(state, self.union())
        self.changes += 1
        if self._union is not None:
            self._union = _joined(self._union, state, self.header)
        self._states[state.name] = state
        self._after[state.name] = written_digest(state, self.header.fingerprint)

    def rename(self, name: str, new: str) -> None:
        """Give a task another name; its place in the order of learning stays.

        Raises:
            UnknownTaskError: no task has this name.
            DuplicateTaskError: another task has the new one.
            TaskError: the new name is empty.
        """
        state = self[name]
        if new == name:
            return
        self.require_new(new)
        self.changes += 1
        renamed = replace(state, name=new)
        self._recent.forget(name)
        self._states = {new if n == name else n: renamed if n == name else s for n, s in self._states.items()}
        self._after = {new if n == name else n: after for n, after in self._after.items()}

    def remove(self, name: str) -> TaskState:
        """Take a task out of the bank, and return its state.

        Raises:
            UnknownTaskError: no task has this name.
            TaskError: the task owns weights, on which the ones after it were learned.
        """
        state = self[name]
        if state.owned is not None:
            raise TaskError(
                f"task {name!r} owns weights of the network that tasks after it use, so that it cannot be removed; "
                "learn the others anew without it"
            )
        self.changes += 1
        self._union = None
        self._recent.forget(name)
        del self._states[name], self._after[name]
        return state

    def subset(self, names: Iterable[str]) -> "MaskBank":
        """Return a bank with some of the tasks, in the order of learning; this one stays as it is.

        Args:
            names: of the tasks. Those that own weights are needed as far as the last task that builds on them.

        Raises:
            UnknownTaskError: no task has one of the names.
            MaskError: a task was learned over weights that the chosen ones do not leave.
        """
        wanted = set(names)
        for name in wanted - self._states.keys():
            self[name]  # raises
        after = {name: digest for name, digest in self._after.items() if name in wanted}
        if self.owners:
            left = dict[str, str]()
            for name, digest in after.items():
                check_follows(self[name], left, self.header)
                left[name] = digest
        if self._stored is None:
            stored = Stored(after, {}, self.__getitem__, dict)
        else:
            stored = Stored(after, self._stored.digests, self._stored.load, dict)
        chosen = MaskBank(self.header, self.kept, stored, self._recent.limit)
        # Those in memory are shared; the others are read when they are asked for, here as there.
        chosen._states = {name: self._states[name] for name in after}
        return chosen

    def merge(self, other: "MaskBank") -> None:
        """Append all tasks of another bank over the same base; if one cannot be, none is.

        Raises:
            BaseMismatchError: the other bank was learned over other weights.
            DuplicateTaskError: a task of the same name is in both.
            MaskError: a task was learned over weights that the tasks of this bank do not leave, or would change
                weights that one of them uses.
        """
        ours, theirs = self.header, other.header
        same = ("fingerprint", "shapes", "norm", "head")
        if differing := [name for name in same if getattr(ours, name) != getattr(theirs, name)]:
            raise BaseMismatchError(
                f"only banks over the same network can be merged, but these differ in {', '.join(differing)}"
            )
        after, states, union = dict(self._after), dict[str, TaskState](), self._union
        for state in other:
            check_follows(state, after, ours)
            if _is_exclusive(state):
                if union is None:
                    union = Mask.union((one.mask for one in (*self, *states.values())), ours.shapes)
                check_spares(state, union)
            if union is not None:
                union = _joined(union, state, ours)
            after[state.name], states[state.name] = written_digest(state, ours.fingerprint), state
        self.changes += 1
        self._after, self._union = after, union
        self._states |= states

    def bytes(self) -> BankBytes:
        """Return what the bank takes on disk when it is saved into an empty folder, item by item.

        Masks that a folder codes relative to each other take less than that; see `BankFolder.bytes`.
        """
        digest, entries = "0" * 64, list[TaskEntry]()
        for number, (name, after) in enumerate(self._after.items()):
            entries.append(TaskEntry(f"tasks/{number:06d}.safetensors", digest, name, after=after))
        kept = FileEntry(KEPT, digest) if self.kept else None
        memory = FileEntry(f"memory-{len(self):06d}.safetensors", digest) if self.memory else None
        manifest = Manifest(self.header, tuple(entries), kept, memory).encode()
        files = ((state, encode_state(state, self.header)[0]) for state in self)
        return measure(files, manifest=len(manifest), kept=self.kept, memory=self.memory)

    def network(
        self,
        backbone: nn.Module,
        base: Base | None = None,
        *,
        device: str | torch.device = "cpu",
        compiled: bool = False,
    ) -> Network:
        """Return the network that the tasks were learned over, without the weights that they own.

        Args:
            backbone: a module of the same architecture as the one that was learned with.
            base: in place of the stored recipe; it must give the same weights.
            device: where to compute.
            compiled: compile the backbone by `torch.compile`.

        Raises:
            BaseMismatchError: the backbone or the base is another one.
            ConfigError: the stored recipe names a class of yours; pass the base in its place.
        """
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
        header.check(network)
        return network

    @property
    def known_union(self) -> Mask | None:
        """What `union` returns, if nothing has to be read for it."""
        return self._union

    def union(self) -> Mask:
        """Return the weights that at least one task keeps."""
        if self._union is None:
            self._union = Mask.union((state.mask for state in self), self.header.shapes)
        return self._union


def check_follows(state: TaskState, after: Mapping[str, str], header: BankHeader) -> None:
    """Raise what `MaskBank.add` raises, unless a state can follow other tasks.

    Args:
        state: of the task.
        after: of those before it, by name, the digest of the weights after them where they own some, or "".
        header: of the bank.
    """
    _require_new(state.name, after)
    shapes = dict(header.shapes)
    dense = {name: tuple(value.shape) for name, value in state.dense.items() if name in shapes}
    if {**state.mask.shapes, **dense} != shapes or state.mask.shapes.keys() & dense:
        raise MaskError(f"the mask of task {state.name!r} is over {state.mask.shapes}, but the bank is over {shapes}")
    left = _left_by(after)
    # Also of a task that owns nothing: tasks whose masks it was not told of may own weights that its mask keeps.
    if state.over != left:
        raise MaskError(
            f"task {state.name!r} was learned over weights with digest {state.over or 'of the base'}, but the tasks "
            f"of this bank leave {left or 'those of the base'}: other tasks were added meanwhile, or it is of "
            "another bank; open the bank again, and learn the task anew"
        )


def check_spares(state: TaskState, kept: Mask) -> None:
    """Raise MaskError if a task that trains only weights that no earlier task uses changes one that is used.

    It then was not told of that task: learned elsewhere, or before the other came. `check_follows` cannot see this of
    tasks that own nothing, since these leave the weights as they are.

    Args:
        state: of the task.
        kept: the weights that tasks before it keep, over all parameters.
    """
    if state.owned is None or not state.owned.exclusive:
        return
    if count := (Mask.union([state.owned.mask], kept.shapes) & kept).count():
        raise MaskError(
            f"task {state.name!r} has trained {count} weights that tasks of this bank use, whose answers would change: "
            "it was learned without these tasks; learn it anew, over this bank"
        )


def _is_exclusive(state: TaskState) -> bool:
    return state.owned is not None and state.owned.exclusive


def _joined(union: Mask, state: TaskState, header: BankHeader) -> Mask:
    return Mask.union([union, state.mask], header.shapes)


def _left_by(after: Mapping[str, str]) -> str:
    """Return the digest of the weights after the last task that owns some; empty if none does."""
    return ["", *filter(None, after.values())][-1]


def _require_new(name: str, taken: Container[str]) -> None:
    if name in taken:
        raise DuplicateTaskError(
            f"the bank has a task {name!r} already, and a learned task never changes; choose another name"
        )


class _States(Sequence[TaskState]):
    def __init__(self, bank: MaskBank) -> None:
        # As the bank is now: a new task begins with the tasks before it, whatever is learned meanwhile.
        self._bank, self._names = bank, bank.names

    def __len__(self) -> int:
        return len(self._names)

    @overload
    def __getitem__(self, index: int) -> TaskState: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[TaskState]: ...
    def __getitem__(self, index: int | slice) -> TaskState | Sequence[TaskState]:
        if isinstance(index, slice):
            return [self._bank[name] for name in self._names[index]]
        return self._bank[self._names[index]]


def shortened(names: list[str]) -> str:
    """Return names for a message: the first five, and how many more there are."""
    if not names:
        return "no task at all"
    shown = ", ".join(map(repr, names[:5]))
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"
