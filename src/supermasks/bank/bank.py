"""The bank of task states, in the order of learning; what is stored is read when it is asked for."""

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import overload

import torch
from torch import Tensor, nn

from supermasks.bank.bytes import BankBytes, measure
from supermasks.bank.header import MOST_WEIGHTS, BankHeader
from supermasks.bank.manifest import KEPT, FileEntry, Manifest, TaskEntry
from supermasks.bank.recent import RecentStates
from supermasks.bank.succession import Succession, check_left, require_new, written
from supermasks.bases import Base, base_from_recipe
from supermasks.brief import brief, counted, expect, listed
from supermasks.encoding import encode_state
from supermasks.errors import BaseMismatchError, ConfigError, MaskError, TaskError, UnknownTaskError
from supermasks.masks import Mask
from supermasks.network import Network
from supermasks.own_copy import settled_names
from supermasks.state import ReadOnlyTensors, TaskState
from supermasks.task_info import check_name
from supermasks.weights import Weights

CACHE_BYTES = 64 << 20
"""How much of what was read from a folder stays in memory, unless told otherwise."""


@dataclass(frozen=True)
class Stored:
    """The tasks of a bank that are read when they are asked for.

    Attributes:
        after: for each task, in the order of learning, the digest of the weights after it where it owns some, or "".
        digests: for each task a digest of what is stored.
        load: reads a task.
        memory: reads what the next task may begin with; None if nothing is remembered.
        weights: reads the shared weights; None while no task has trained all of them.
        union: of all masks, if that is known.
        most_weights: masks of more weights are not read before `MaskBank.check` has compared them with a network.
    """

    after: Mapping[str, str]
    digests: Mapping[str, str]
    load: Callable[[str], TaskState]
    memory: Callable[[], Mapping[str, Tensor]] | None
    weights: Callable[[], Mapping[str, Tensor]] | None = None
    union: Mask | None = None
    most_weights: int = MOST_WEIGHTS


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
        stored: Stored | None = None,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        self.header = header
        self.kept: Mapping[str, Tensor] = ReadOnlyTensors(kept or {})
        self._stored = stored
        self.changes = 0
        # Read when somebody asks for it, unless it is there.
        self._read_memory = None if stored is None else stored.memory
        self._memory: Mapping[str, Tensor] | None = None if self._read_memory else ReadOnlyTensors({})
        self._read_weights = None if stored is None else stored.weights
        self._weights: Mapping[str, Tensor] | None = None if self._read_weights else ReadOnlyTensors({})
        # None: the task is stored, under the same name.
        self._states: dict[str, TaskState | None] = dict.fromkeys(stored.after if stored else ())
        self._digests: dict[str, str] = dict(stored.digests) if stored else {}
        self._order = Succession(header, stored.after, stored.union) if stored else Succession(header)
        self._recent = RecentStates(cache_bytes)
        self._checked = False

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
            BankFormatError: its file is missing, truncated or altered, or it has more weights than are read without a
                network (see `check`).
            StorageError: its file cannot be read.
        """
        if not isinstance(name, str):
            raise UnknownTaskError(
                f"the name of a task must be a string, got {brief(name)}; ask for one task at a time, by its name"
            )
        if name not in self:
            raise unknown_task(name, self.names)
        state = self._states[name]
        if state is None:
            assert self._stored is not None  # only then a state is None
            self._require_size()
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
            assert self._read_memory is not None  # only then it is None
            self._memory = ReadOnlyTensors(self._read_memory())
        return self._memory

    @memory.setter
    def memory(self, memory: Mapping[str, Tensor]) -> None:
        self._memory = ReadOnlyTensors(memory)

    @property
    def remembers(self) -> bool:
        """Whether there is anything that the next task may begin with; it is not read for this."""
        return self._memory is None or len(self._memory) > 0

    @property
    def weights(self) -> Mapping[str, Tensor]:
        """The shared weights as the last task that trained all of them has left them; none if no task has."""
        if self._weights is None:
            assert self._read_weights is not None  # only then it is None
            self._weights = ReadOnlyTensors(self._read_weights())
        return self._weights

    @property
    def shares(self) -> bool:
        """Whether a task has trained all shared weights; they are not read for this."""
        return self._weights is None or len(self._weights) > 0

    def written(self, base: Weights) -> Weights:
        """Return the shared weights as the tasks have left them.

        Args:
            base: the weights as they were before any task.

        Raises:
            BankFormatError: the file of the weights, or of a task that owns some, is missing, truncated or altered.
            MaskError: the stored weights are not those that the last task has left.
        """
        return written(base, [self[name] for name in self.owners], self.weights if self.shares else {})

    @property
    def owners(self) -> list[str]:
        """The names of the tasks that have trained shared weights."""
        return [name for name, after in self._order.after.items() if after]

    @property
    def over(self) -> str:
        """The digest of the weights that a new task is learned over; empty while they are those of the base."""
        return self._order.over

    def after(self, name: str) -> str:
        """Return the digest of the weights after a task, if it owns some; empty otherwise."""
        return self._order.after[name]

    def digest(self, name: str) -> str:
        """Return the digest of what was stored of a task; empty if it was not stored."""
        return self._digests.get(name, "")

    def was_stored(self, digests: Mapping[str, str]) -> None:
        """Note the digests of what was stored of tasks, by which a folder notices that it has them already."""
        self._digests |= digests

    def stored_in(self, stored: Stored) -> None:
        """Read from another place, from now on, what was not read yet.

        Args:
            stored: the same tasks, and what is remembered.
        """
        self._stored, self._read_memory, self._read_weights = stored, stored.memory, stored.weights

    def require_new(self, name: str) -> None:
        """Raise DuplicateTaskError if a task has this name."""
        require_new(name, self._states)

    def add(self, state: TaskState, weights: Mapping[str, Tensor] | None = None) -> None:
        """Append a state.

        Args:
            state: of the task.
            weights: all shared weights, if the task has trained them.

        Raises:
            DuplicateTaskError: a task of this name is in the bank.
            MaskError: it does not change the parameters of this bank, the task was learned over
                weights that the tasks of this bank do not leave, or it would change weights that one of them uses.
        """
        expect(state, TaskState, "what is added to a bank")
        check_left(state, weights)
        self._order.check(state, self._masks)
        self.changes += 1
        self._states[state.name] = state
        self._order.add(state)
        if state.replaced and weights is not None:
            self._weights = ReadOnlyTensors(weights)

    def rename(self, name: str, new: str) -> None:
        """Give a task another name; its place in the order of learning stays.

        Raises:
            UnknownTaskError: no task has this name.
            DuplicateTaskError: another task has the new one.
            TaskError: the new name is no string of printable characters, or empty.
        """
        state = self[name]
        check_name(new)
        if new == name:
            return
        self.require_new(new)
        self.changes += 1
        renamed = state.renamed(new)
        self._recent.forget(name)
        self._states = {new if n == name else n: renamed if n == name else s for n, s in self._states.items()}
        self._order.rename(name, new)
        if name in self._digests:
            self._digests[new] = self._digests.pop(name)  # no name is part of what is stored

    def remove(self, name: str) -> TaskState:
        """Take a task out of the bank, and return its state.

        Raises:
            UnknownTaskError: no task has this name.
            TaskError: the task owns weights, on which the ones after it were learned.
        """
        state = self[name]
        if self.after(name):
            raise owner_stays(name)
        self.changes += 1
        self._order.remove(name)
        self._recent.forget(name)
        del self._states[name]
        self._digests.pop(name, None)
        return state

    def subset(self, names: Iterable[str]) -> "MaskBank":
        """Return a bank with some of the tasks, in the order of learning; this one stays as it is.

        A bank with all of the tasks remembers what this one does, one with some of them nothing.

        Args:
            names: of the tasks. Those that own weights are needed as far as the last task that builds on them.

        Raises:
            ConfigError: the names are one string.
            UnknownTaskError: no task has one of the names.
            MaskError: a task was learned over weights that the chosen ones do not leave.
        """
        if isinstance(names, str):
            raise ConfigError(f"expected a list of task names, got {names!r}; write subset([{names!r}])")
        expect(names, Iterable, "the names of the tasks")
        wanted = set[str]()
        for name in names:
            self._require(name)
            wanted.add(name)
        after = {name: digest for name, digest in self._order.after.items() if name in wanted}
        if self.shares and (missing := [name for name in self.owners if name not in wanted]):
            raise MaskError(
                "tasks of this bank have trained all shared weights, and only the last weights are kept; choose "
                f"{listed(missing)} as well"
            )
        if self.over:
            left = Succession(self.header)
            for name in after:
                left.check_follows(self[name])
                left.add(self[name])
        digests = {name: digest for name, digest in self._digests.items() if name in wanted}
        load = self._stored.load if self._stored else self.__getitem__
        stored = Stored(after, digests, load, None)
        chosen = MaskBank(self.header, self.kept, stored, self._recent.limit)
        chosen._checked = self._checked
        # Those in memory are shared; the others are read when they are asked for, here as there.
        chosen._states = {name: self._states[name] for name in after}
        chosen._weights, chosen._read_weights = self._weights, self._read_weights
        if len(after) == len(self):
            chosen._memory, chosen._read_memory = self._memory, self._read_memory
        return chosen

    def merge(self, other: "MaskBank") -> None:
        """Append all tasks of another bank over the same base; if one cannot be, none is.

        What the other bank remembers is taken over if this one remembers nothing.

        Raises:
            BaseMismatchError: the other bank was learned over other weights.
            DuplicateTaskError: a task of the same name is in both.
            MaskError: a task was learned over weights that the tasks of this bank do not leave, or would change
                weights that one of them uses.
        """
        expect(other, MaskBank, "the bank to merge")
        ours, theirs = self.header, other.header
        same = ("fingerprint", "shapes", "norm", "head")
        if differing := [name for name in same if getattr(ours, name) != getattr(theirs, name)]:
            raise BaseMismatchError(
                f"only banks over the same network can be merged, but these differ in {', '.join(differing)}"
            )
        order, states = self._order.copy(), dict[str, TaskState]()

        def masks() -> Iterator[Mask]:
            yield from self._masks()
            yield from (state.uses(self.header.shapes) for state in states.values())

        for state in other:
            order.check(state, masks)
            order.add(state)
            states[state.name] = state
        if not self.remembers:
            self._memory, self._read_memory = other._memory, other._read_memory
        if other.shares:
            self._weights, self._read_weights = other._weights, other._read_weights
        self.changes += 1
        self._order = order
        self._states |= states

    def bytes(self) -> BankBytes:
        """Return what the bank takes on disk when it is saved into an empty folder, item by item.

        Masks that a folder codes relative to each other take less than that; see `BankFolder.bytes`.
        """
        digest, entries = "0" * 64, list[TaskEntry]()
        for number, (name, after) in enumerate(self._order.after.items()):
            entries.append(TaskEntry(f"tasks/{number:06d}.safetensors", digest, name, after=after))
        kept = FileEntry(KEPT, digest) if self.kept else None
        memory = FileEntry(f"memory-{len(self):06d}.safetensors", digest) if self.memory else None
        weights = FileEntry(f"weights-{len(self):06d}.safetensors", digest) if self.weights else None
        manifest = Manifest(self.header, tuple(entries), kept, memory, weights).encode()
        files = ((state, encode_state(state, self.header.layout)[0]) for state in self)
        return measure(files, len(manifest), self.kept, self.memory, self.weights)

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
            ConfigError: the stored recipe names a class that was not imported; import it, or pass the base.
        """
        if not isinstance(backbone, nn.Module):
            raise ConfigError(
                "expected the backbone that the bank was learned with, a torch.nn.Module, "
                f"got {backbone!r}; build it as it was then"
            )
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
        """Raise BaseMismatchError unless the bank was learned over this network; then masks of any size are read."""
        self.header.check(network)
        self._checked = True

    def union(self) -> Mask:
        """Return the weights that at least one task keeps."""
        if self._order.union is None:
            self._require_size()
            self._order.union = Mask.union(self._masks(), self.header.shapes)
        return self._order.union

    def _masks(self) -> Iterator[Mask]:
        return (state.uses(self.header.shapes) for state in self)

    def _require_size(self) -> None:
        """Raise BankFormatError if what is stored may claim more weights than there are."""
        if self._stored is not None and not self._checked:
            self.header.check_size(self._stored.most_weights)

    def _require(self, name: str) -> None:
        if name not in self:
            raise unknown_task(name, self.names)


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


def owner_stays(name: str) -> TaskError:
    """Return the error of who would remove a task that owns weights."""
    return TaskError(
        f"task {name!r} owns weights of the network that tasks after it use, so that it cannot be removed; "
        "learn the others anew without it"
    )


def unknown_task(name: object, names: list[str]) -> UnknownTaskError:
    """Return the error of who asks for a task that is not among those of these names."""
    if not isinstance(name, str):
        return UnknownTaskError(f"expected the name of one task, a string, got {name!r}; there is {shortened(names)}")
    close = difflib.get_close_matches(name, names, n=3)
    hint = f"did you mean {' or '.join(map(repr, close))}?" if close else f"it holds {shortened(names)}"
    return UnknownTaskError(f"the bank has no task {name!r}; {hint}")


def shortened(names: list[str]) -> str:
    """Return names for a message: the first five, and how many more there are."""
    if not names:
        return "no task at all"
    shown = ", ".join(map(repr, names[:5]))
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"
