"""What a new task has to fit: the weights that the tasks of a bank leave and use, and what was counted of them."""

from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor

from supermasks.bank.header import BankHeader
from supermasks.errors import BaseMismatchError, DuplicateTaskError, MaskError
from supermasks.masks import Mask
from supermasks.moments import Moments
from supermasks.state import TaskState
from supermasks.state_check import check_base
from supermasks.weights import Weights, content_digest


@dataclass
class Succession:
    """What the weights of a new task have to fit.

    Attributes:
        header: of the bank.
        over: the digest of the weights that the tasks leave; empty while these are the base's.
        union: the weights that at least one task keeps; None until it is needed.
    """

    header: BankHeader
    over: str = ""
    union: Mask | None = None

    def check(self, state: TaskState, masks: Callable[[], Iterable[Mask]]) -> None:
        """Raise an error unless a task can be added.

        Args:
            state: of the task.
            masks: gives the masks of the tasks in the bank; called only if they matter.

        Raises:
            BaseMismatchError: the task fits only another base.
            MaskError: the task changes other parameters than the bank's, was learned over other weights than its
                tasks leave, or would change weights that one of them uses.
        """
        self.check_follows(state)
        if state.owned is not None and state.owned.exclusive:
            if self.union is None:
                self.union = Mask.union(masks(), self.header.shapes)
            # The digest of the weights does not show whether an earlier task that owns nothing uses them.
            if count := (Mask.union([state.owned.mask], self.header.shapes) & self.union).count():
                raise MaskError(
                    f"task {state.name!r} was learned without the tasks of this bank: it has trained {count} weights "
                    "that they use, so their answers would change; learn it anew over this bank"
                )

    def check_follows(self, state: TaskState) -> None:
        """Do the checks of `check`, except whether the task would change weights in use."""
        self.check_changes(state)
        # A task that owns nothing is checked, too: a task that did not see its mask may own weights that it keeps.
        if state.over != self.over:
            raise MaskError(
                f"task {state.name!r} was learned over the weights {state.over or 'of the base'}, but the tasks of "
                f"this bank leave the weights {self.over or 'of the base'}: tasks were added meanwhile, or it is from "
                "another bank; open the bank again and learn the task anew"
            )

    def check_replaces(self, state: TaskState, before: TaskState, owners: Iterable[TaskState]) -> None:
        """Raise MaskError unless a state can take the place of another one of the same task.

        Args:
            state: the new state.
            before: the one in the bank.
            owners: the later tasks that have trained shared weights; read only if the first checks pass.
        """
        trained = [each for each in (before, state) if each.after(self.header.fingerprint)]
        if trained or state.over != before.over:
            raise MaskError(
                f"task {state.name!r} cannot be replaced: it or its new state has trained shared weights, or the new "
                "state was learned over other weights; add the new state under another name"
            )
        used = state.uses(self.header.shapes)
        for owner in owners:
            if owner.owned is None or not owner.owned.exclusive:
                continue
            if count := (Mask.union([owner.owned.mask], self.header.shapes) & used).count():
                raise MaskError(
                    f"task {state.name!r} cannot be replaced: its new state uses {count} weights that the later task "
                    f"{owner.name!r} has trained, so it would not answer as it was learned; learn it anew over this "
                    "bank, and add it under another name"
                )

    def check_changes(self, state: TaskState) -> None:
        """Raise an error unless a task fits the base of the bank, and changes exactly its parameters."""
        check_base(state, self.header.fingerprint)
        shapes = dict(self.header.shapes)
        changed = {name: change.shape for name, change in state.changes.items() if name in shapes}
        if changed != shapes:
            raise MaskError(
                f"expected changes of the parameters {shapes}, but task {state.name!r} changes {changed}; learn it "
                "over the network of this bank"
            )

    def add(self, state: TaskState) -> str:
        """Note a checked task; return the digest of the weights after it, or "" if it trained none."""
        after = state.after(self.header.fingerprint)
        self.over = after or self.over
        if self.union is not None:
            self.union = self.union | state.uses(self.header.shapes)
        return after


def require_new(name: str, taken: Container[str]) -> None:
    """Raise DuplicateTaskError if a task has this name."""
    if name in taken:
        raise DuplicateTaskError(
            f"the bank already has a task {name!r}, and a learned task never changes; choose another name"
        )


def check_left(state: TaskState, weights: Mapping[str, Tensor] | None) -> None:
    """Raise MaskError if a task has trained all shared weights, and these are not the weights that it left.

    Args:
        state: of the task.
        weights: all shared weights, or None.
    """
    if not state.replaced:
        return
    if weights is None:
        raise MaskError(f"task {state.name!r} has trained all shared weights; pass them, too, with weights=...")
    if content_digest(weights) != state.replaced:
        raise MaskError(
            f"expected the shared weights that task {state.name!r} left, got others; pass those of its training"
        )


def written(base: Weights, states: Iterable[TaskState], values: Mapping[str, Tensor]) -> Weights:
    """Return the shared weights after some tasks.

    Args:
        base: the weights before any task.
        states: of the tasks, in the order of learning; tasks that did not change the weights may be left out.
        values: the weights after the last task that trained all of them; empty if none did.

    Raises:
        MaskError: the values are not the weights that this task left.
    """
    changing = [state for state in states if state.owned is not None or state.replaced]
    last = max((number for number, state in enumerate(changing) if state.replaced), default=-1)
    weights = base
    if last >= 0:
        check_left(changing[last], values)
        weights = base.restored(values, [state.after(base.history[0]) for state in changing[: last + 1]])
    for state in changing[last + 1 :]:
        if state.owned is not None:
            weights = weights.writing(state.owned)
    return weights


def with_task(held: Moments | None, state: TaskState, moments: Moments | None) -> Moments | None:
    """Return what was counted of the tasks of a bank and of one more.

    Args:
        held: what was counted of the tasks in the bank; None if nothing was.
        state: of the new task.
        moments: what was counted of it; None if nothing was, or if it was in the bank before. They may hold other tasks
            as well, if they hold all those in the bank. If it is counted in the bank already, they need not hold it.

    Raises:
        MaskError: the moments do not hold the task, or it has means, and there are only moments of other tasks.
        BaseMismatchError: other features were counted than of the tasks in the bank.
    """
    if (
        moments is not None
        and not moments.hold(state.means)
        and (held is None or not held.hold(state.means) or {*moments.members} - {*held.members})
    ):
        raise MaskError(
            f"expected the statistics of task {state.name!r}, got those of other examples; pass what was counted "
            "together with the means of its classes"
        )
    both = added(held, moments)
    check_counted(both, state)
    return both


def added(held: Moments | None, others: Moments | None) -> Moments | None:
    """Return what was counted of two sets of tasks; None if nothing was counted of either.

    Raises:
        BaseMismatchError: the features differ.
        MaskError: some of the tasks are in both, and each has others.
    """
    if held is None or others is None:
        return others if held is None else held
    return held.plus(others)


def check_counted(moments: Moments | None, state: TaskState) -> None:
    """Raise an error if a task has means, and the moments of its bank are of other tasks.

    A router would then recognise no task of the bank.

    Raises:
        BaseMismatchError: the means are of other features than the moments.
        MaskError: the task was not counted.
    """
    if moments is None or state.means is None:
        return
    if state.means.of != moments.of:
        raise BaseMismatchError(
            f"expected a task with statistics of the features {moments.settings}, but those of task {state.name!r} are "
            "of other features, or fitted on other inputs; learn it anew over this bank, or add it without its means: "
            "dataclasses.replace(state, means=None)"
        )
    if not moments.hold(state.means):
        raise MaskError(
            f"expected a task that the statistics of the bank hold, but they lack task {state.name!r}, so a router "
            "would recognise no task at all; add or replace it with moments=..., such as learner.bank.moments of the "
            "learner that learned it, or, if no router is used, without its means: dataclasses.replace(state, "
            "means=None)"
        )
