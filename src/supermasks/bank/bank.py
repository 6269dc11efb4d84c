"""The bank of task states: tasks are added, replaced, renamed and removed."""

from collections.abc import Collection, Iterable, Mapping
from copy import copy
from dataclasses import replace
from typing import Any

from torch import Tensor

from supermasks.bank.contents import BankContents, StoredTask, unknown_tasks
from supermasks.bank.recent import RecentStates
from supermasks.bank.succession import Succession, added, check_left, require_new, with_task
from supermasks.brief import expect
from supermasks.encoding import check_kinds
from supermasks.errors import BaseMismatchError, ConfigError, MaskError, TaskError
from supermasks.moments import ClassMeans, Moments
from supermasks.state import ReadOnlyTensors, TaskState
from supermasks.task_info import check_name


class MaskBank(BankContents):
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
        >>> from supermasks.bank import BankHeader
        >>> from supermasks.bases import RandomBase
        >>> from supermasks.changes import Masked
        >>> from supermasks.masks import Mask
        >>> from supermasks.state import TaskState
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

    def count(self, moments: Moments | None, means: Mapping[str, ClassMeans]) -> None:
        """Replace what was counted of the tasks.

        Args:
            moments: what the tasks share from now on.
            means: for tasks by name, the means of their classes; the other tasks keep theirs.

        Raises:
            UnknownTaskError: the bank has no task of one of the names.
        """
        states = {name: replace(self[name], means=of) for name, of in means.items()}
        tasks = {name: self._tasks[name]._replace(state=state, sha256="") for name, state in states.items()}
        for name in states:
            self._recent.forget(name)
        self._set({**self._tasks, **tasks}, {**self._once, "moments": moments}, self._order)

    def require_new(self, name: str) -> None:
        """Raise DuplicateTaskError if a task has this name."""
        require_new(name, self)

    def add(
        self,
        state: TaskState,
        weights: Mapping[str, Tensor] | None = None,
        moments: Moments | None = None,
        memory: Mapping[str, Tensor] | None = None,
    ) -> None:
        """Append a state. If anything fails, or is interrupted, the bank stays as it was.

        Args:
            state: of the task.
            weights: all shared weights, if the task has trained them.
            moments: what was counted of this task, if it was; a task that was removed may leave it out, unless no task
                was left. They may hold other tasks as well, if they hold all that were counted in this bank.
            memory: what the next task may begin with; None leaves that unchanged.

        Raises:
            DuplicateTaskError: the bank has a task of this name.
            TaskError: no file could hold a change of a user's own class.
            MaskError: the task changes other parameters than the bank's, was learned over other weights than its
                tasks leave, or would change weights that one of them uses.
                The moments are not those of this task, or are missing, although tasks of the bank have some.
            BaseMismatchError: other features were counted than of the tasks in the bank.
        """
        expect(state, TaskState, "what is added to a bank")
        check_kinds(state)
        check_left(state, weights)
        self._append(state, moments, weights if state.replaced else None, memory)

    def _append(
        self,
        state: TaskState,
        moments: Moments | None = None,
        weights: Mapping[str, Tensor] | None = None,
        memory: Mapping[str, Tensor] | None = None,
    ) -> None:
        self.require_new(state.name)
        self._order.check(state, self._masks)
        tasks, order, once = self._tasks, replace(self._order), dict(self._once)
        if state.means is not None or moments is not None:  # otherwise stored moments are not read
            once["moments"] = with_task(self.moments, state, moments)
        once |= {kind: ReadOnlyTensors(of) for kind, of in (("weights", weights), ("memory", memory)) if of is not None}
        task = StoredTask(state, order.add(state))
        # Python raises Control-C where a function is called, so not between these: all of a task is there, or nothing.
        tasks[state.name], self._once, self._order, self.changes = task, once, order, self.changes + 1

    def _set(self, tasks: dict[str, "StoredTask"], once: dict[str, Any], order: Succession) -> None:
        """Replace the contents, all at once."""
        self._known, self._once, self._order, self.changes = tasks, once, order, self.changes + 1

    def replace(self, state: TaskState, moments: Moments | None = None) -> None:
        """Replace a task of the same name; its place in the order of learning stays.

        Args:
            state: over the same weights as the one before.
            moments: what was counted of this state, as in `add`. What was counted of the one before stays.

        Raises:
            UnknownTaskError: the bank has no task of this name.
            TaskError: no file could hold a change of a user's own class.
            MaskError: the new state changes other parameters than the bank's. One of the two states has trained shared
                weights, or was learned over other weights. The new one uses weights that a later task has trained.
                Its moments are those of another state, or are missing although tasks of the bank have some.
            BaseMismatchError: other features were counted than of the tasks in the bank.
        """
        expect(state, TaskState, "what replaces a task of a bank")
        check_kinds(state)
        self._order.check_changes(state)
        before, names = self[state.name], self.names
        owners = (self[name] for name in names[names.index(state.name) + 1 :] if self.after(name))
        self._order.check_replaces(state, before, owners)
        if state.means is not None or moments is not None:  # otherwise stored moments are not read
            self._once["moments"] = with_task(self.moments, state, moments)
        self._order.union = None
        self.changes += 1
        self._change(state)

    def _change(self, state: TaskState) -> None:
        self._recent.forget(state.name)
        self._tasks[state.name] = self._tasks[state.name]._replace(state=state, sha256="")

    def rename(self, name: str, new: str) -> None:
        """Give a task another name; its place in the order of learning stays.

        Its random numbers were drawn for the name under which it was learned, so a coded mask may keep that name.

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

        What was counted of it stays in the sum, and the features stay those of the first task, even if that is removed.
        A bank without tasks begins anew: nothing that was counted is left.

        Raises:
            UnknownTaskError: the bank has no task of this name.
            TaskError: the task has trained shared weights.
        """
        state = self[name]
        if self.after(name):
            raise owner_stays(name)
        self.changes += 1
        self._order.union = None
        self._recent.forget(name)
        del self._tasks[name]
        if not self._tasks:
            self._once["moments"] = None
        return state

    def subset(self, names: Iterable[str]) -> "MaskBank":
        """Return a new bank with some of the tasks, in the order of learning.

        The new bank has the memory of this one only if it has all tasks, and its moments if it has any task.

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
        if not kept:
            chosen._once["moments"] = None
        return chosen

    def _with(self, tasks: dict[str, "StoredTask"], order: Succession) -> "MaskBank":
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
        self._set(both._tasks, both._once, both._order)


def owner_stays(name: str) -> TaskError:
    """Return the error for removing a task that has trained shared weights."""
    return TaskError(
        f"task {name!r} cannot be removed: it has trained shared weights, which stay in the bank; learn the other "
        "tasks anew without it"
    )
