"""Which tasks can follow those of a bank."""

from collections.abc import Callable, Container, Iterable, Mapping

from torch import Tensor

from supermasks.bank.header import BankHeader
from supermasks.errors import DuplicateTaskError, MaskError
from supermasks.masks import Mask
from supermasks.state import TaskState
from supermasks.weights import Weights, content_digest


class Succession:
    """What a further task has to fit: the names of the tasks, the weights that they leave, and those that they keep.

    Attributes:
        after: for each task, in the order of learning, the digest of the weights after it where it owns some, or "".
        over: the digest of the weights that the tasks leave; empty while they are those of the base.
        union: the weights that at least one task keeps; None while nobody has asked.

    Args:
        header: of the bank.
        after: of the tasks that are there already.
        union: of their masks, if that is known.
    """

    def __init__(self, header: BankHeader, after: Mapping[str, str] | None = None, union: Mask | None = None) -> None:
        self._header = header
        self.after: dict[str, str] = dict(after or {})
        self.over = next(filter(None, reversed(self.after.values())), "")
        self.union = union

    def copy(self) -> "Succession":
        """Return one that goes its own way."""
        return Succession(self._header, self.after, self.union)

    def check(self, state: TaskState, masks: Callable[[], Iterable[Mask]]) -> None:
        """Raise an error unless a task can follow.

        Args:
            state: of the task.
            masks: of the tasks that are there, which are read only if they matter.

        Raises:
            DuplicateTaskError: a task of this name is there.
            MaskError: it does not change the parameters of the bank, the task was learned over weights
                that the tasks do not leave, or it would change weights that one of them uses.
        """
        self.check_follows(state)
        if state.owned is not None and state.owned.exclusive:
            if self.union is None:
                self.union = Mask.union(masks(), self._header.shapes)
            _check_spares(state, self.union)

    def check_follows(self, state: TaskState) -> None:
        """Raise what `check` raises, but for weights that the task would change."""
        require_new(state.name, self.after)
        shapes = dict(self._header.shapes)
        changed = {name: change.shape for name, change in state.changes.items() if name in shapes}
        if changed != shapes:
            raise MaskError(f"task {state.name!r} changes {changed}, but the bank is over {shapes}")
        # Also of a task that owns nothing: tasks whose masks it was not told of may own weights that its mask keeps.
        if state.over != self.over:
            raise MaskError(
                f"task {state.name!r} was learned over weights with digest {state.over or 'of the base'}, but the "
                f"tasks of this bank leave {self.over or 'those of the base'}: other tasks were added meanwhile, or it "
                "is of another bank; open the bank again, and learn the task anew"
            )

    def add(self, state: TaskState) -> str:
        """Note that a task, which was checked, is there; return the digest of the weights after it, or ""."""
        self.after[state.name] = after = state.after(self._header.fingerprint)
        self.over = after or self.over
        if self.union is not None:
            self.union = self.union | state.uses(self._header.shapes)
        return after

    def rename(self, name: str, new: str) -> None:
        """Give a task another name, in the same place."""
        self.after = {new if n == name else n: after for n, after in self.after.items()}

    def remove(self, name: str) -> None:
        """Forget a task that owns no weights."""
        del self.after[name]
        self.union = None


def require_new(name: str, taken: Container[str]) -> None:
    """Raise DuplicateTaskError if a task has this name."""
    if name in taken:
        raise DuplicateTaskError(
            f"the bank has a task {name!r} already, and a learned task never changes; choose another name"
        )


def check_left(state: TaskState, weights: Mapping[str, Tensor] | None) -> None:
    """Raise MaskError unless these are the shared weights that a task has left, or it left them as they were.

    Args:
        state: of the task.
        weights: all shared weights; None where they are not given.
    """
    if not state.replaced:
        return
    if weights is None:
        raise MaskError(f"task {state.name!r} has trained all shared weights; pass these as well, weights=...")
    if content_digest(weights) != state.replaced:
        raise MaskError(f"task {state.name!r} has left other shared weights than those that were given")


def written(base: Weights, states: Iterable[TaskState], values: Mapping[str, Tensor]) -> Weights:
    """Return the shared weights as tasks have left them.

    Args:
        base: the weights as they were before any task.
        states: of the tasks, in the order of learning; those that left the weights as they were may be missing.
        values: the weights after the last task that has trained all of them; none if no task has.

    Raises:
        MaskError: the values are not those that this task has left.
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


def _check_spares(state: TaskState, kept: Mask) -> None:
    """Raise MaskError if a task that trains only weights that no earlier task uses changes one that is used.

    It then was not told of that task: learned elsewhere, or before the other came. The digest of the weights does not
    tell of tasks that own nothing, since these leave the weights as they are.

    Args:
        state: of the task.
        kept: the weights that tasks before it keep, over all parameters.
    """
    assert state.owned is not None  # only of a task that owns weights
    if count := (Mask.union([state.owned.mask], kept.shapes) & kept).count():
        raise MaskError(
            f"task {state.name!r} has trained {count} weights that tasks of this bank use, whose answers would change: "
            "it was learned without these tasks; learn it anew, over this bank"
        )
