"""What was counted of the tasks of a bank, when a task is added."""

from supermasks.errors import BaseMismatchError, MaskError
from supermasks.moments import Moments
from supermasks.state import TaskState


def with_task(held: Moments | None, state: TaskState, moments: Moments | None) -> Moments | None:
    """Return what was counted of the tasks of a bank and of one more.

    Args:
        held: what was counted of the tasks in the bank; None if nothing was.
        state: of the new task.
        moments: what was counted of it; None if nothing was, or if it was in the bank before. They may hold other tasks
            as well, if they hold all those in the bank.

    Raises:
        MaskError: the moments do not hold the task.
        BaseMismatchError: other features were counted than of the tasks in the bank.
    """
    if moments is not None and (state.means is None or state.means.digest not in moments.members):
        raise MaskError(
            f"expected the statistics of task {state.name!r}, got those of other examples; pass what was counted "
            "together with the means of its classes"
        )
    both = added(held, moments)
    check_features(both, state)
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


def check_features(moments: Moments | None, state: TaskState) -> None:
    """Raise BaseMismatchError if the means of a task are of other features than the moments of a bank."""
    if moments is not None and state.means is not None and state.means.of != moments.of:
        raise BaseMismatchError(
            f"expected a task with statistics of the features {moments.settings}, but those of task {state.name!r} are "
            "of other features, or fitted on other inputs; learn it anew over this bank, or add it without its means: "
            "dataclasses.replace(state, means=None)"
        )
