"""One task of the examples of many tasks, for multitask training."""

from collections.abc import Hashable, Sequence

import torch
from torch import Tensor

from supermasks.errors import TaskError
from supermasks.types import Examples, Task


class _Inputs:
    """The inputs of several sets of examples, one set after the other, as each task sees them."""

    def __init__(self, parts: Sequence[Examples]) -> None:
        self._parts = parts
        self._ends = torch.tensor([len(part) for part in parts]).cumsum(0)
        self.fixed = all(getattr(part.inputs, "fixed", True) for part in parts)
        self.shape, self.dtype = (int(self._ends[-1]), *parts[0].shape), parts[0].dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Tensor, /) -> Tensor:
        found = torch.empty(len(rows), *self.shape[1:], dtype=self.dtype)
        of = torch.searchsorted(self._ends, rows, right=True)
        for number in of.unique().tolist():
            places, part = (of == number).nonzero().flatten(), self._parts[number]
            start = int(self._ends[number]) - len(part)
            found[places] = part.batch(rows[places] - start)[0].to(found.device)
        return found


def joint_task(name: str, tasks: Sequence[Task]) -> Task:
    """Return one task that has the examples of all tasks, and an output for each class of each task.

    No input is copied. The classes are pairs of the name of a task and its class.

    Args:
        name: of the new task.
        tasks: at least one; their inputs must have one shape and type.

    Raises:
        TaskError: there is no task, or the inputs differ in shape or type.

    Example:
        >>> some = Task("some", ("no", "yes"), Examples(torch.zeros(2, 3), torch.tensor([0, 1])))
        >>> more = Task("more", ("no", "yes"), Examples(torch.ones(2, 3), torch.tensor([1, 0])))
        >>> task = joint_task("both", [some, more])
        >>> task.classes[-1], task.train.targets.tolist()
        (('more', 'yes'), [0, 1, 3, 2])
    """
    forms = {(task.train.shape, task.train.dtype) for task in tasks}
    if len(forms) != 1:
        raise TaskError(f"expected tasks with inputs of one shape and type, got {sorted(map(str, forms))}")
    classes = tuple[Hashable, ...]((task.name, label) for task in tasks for label in task.classes)
    train, test, validation = (
        _joined(tasks, [getattr(task, part) for task in tasks]) for part in ("train", "test", "validation")
    )
    assert train is not None  # each task has training examples
    return Task(name, classes, train, test, validation, tasks[0].input_form)


def _joined(tasks: Sequence[Task], of: Sequence[Examples | None]) -> Examples | None:
    """Return the examples of all parts, None if a task has none; the targets count the classes of all tasks."""
    parts = [part for part in of if part is not None]
    if len(parts) < len(tasks):
        return None
    targets, classes = list[Tensor](), 0
    for task, part in zip(tasks, parts, strict=True):
        targets.append(part.targets.cpu() + classes)
        classes += len(task.classes)
    return Examples(_Inputs(parts), torch.cat(targets))
