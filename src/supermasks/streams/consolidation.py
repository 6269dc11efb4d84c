"""Drop masks that a false alarm has opened."""

from dataclasses import dataclass

from supermasks.streams.stream_tasks import StreamTasks


@dataclass(frozen=True)
class Dropped:
    """A task that was dropped in favour of another.

    Attributes:
        task: the name of the dropped task.
        into: the task that answers its batches from now on.
        batches: how many batches the dropped task was trained on.
        before: the accuracy of the dropped task on its last batches.
        after: the accuracy of the other task on these batches.
    """

    task: str
    into: str
    batches: int
    before: float
    after: float


def consolidated(tasks: StreamTasks, tolerance: float) -> list[Dropped]:
    """Drop open tasks that another task can stand for, and return what was dropped.

    Args:
        tasks: of a stream.
        tolerance: how much less accurate the other task may be.
    """
    dropped = list[Dropped]()
    for name in sorted(tasks.open, key=lambda name: tasks.trends[name].count):
        batches = tasks.recent[name]
        others = [other for other in tasks.names if other != name]
        if not batches or not others:
            continue
        before = _accuracy(tasks, name, name)
        after = {other: _accuracy(tasks, other, name) for other in others}
        best = max(others, key=lambda other: after[other])
        if after[best] >= before - tolerance:
            dropped.append(Dropped(name, best, tasks.trends[name].count, before, after[best]))
            tasks.drop(name)
    return dropped


def _accuracy(tasks: StreamTasks, name: str, of: str) -> float:
    """Return the accuracy of a task on the last batches of an open task."""
    batches = tasks.recent[of]
    right = sum(tasks.accuracy(name, inputs, targets) * len(targets) for inputs, targets in batches)
    return right / sum(len(targets) for _, targets in batches)
