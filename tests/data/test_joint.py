"""One task of the examples of many tasks."""

import pytest
import torch

from supermasks import Examples, Task
from supermasks.data import PermutedStream, joint_task
from supermasks.datasets import load_source
from supermasks.errors import TaskError


def test_each_task_is_seen_as_it_sees_its_own_examples() -> None:
    """Through views and rows, in any order, with targets that do not overlap."""
    tasks = list(PermutedStream(load_source("sample"), tasks=3, seed=0))
    joint = joint_task("all", tasks)
    sizes = [len(task.train) for task in tasks]
    assert len(joint.train) == sum(sizes)
    rows = torch.randperm(sum(sizes), generator=torch.Generator().manual_seed(1))[:50]
    inputs, targets = joint.train.batch(rows)
    for row, found, target in zip(rows.tolist(), inputs, targets.tolist(), strict=True):
        number = 0
        while row >= sizes[number]:
            row, number = row - sizes[number], number + 1
        expected, label = tasks[number].train.batch(torch.tensor([row]))
        assert torch.equal(found, expected[0])
        assert joint.classes[target] == (tasks[number].name, tasks[number].classes[int(label)])
    assert joint.validation is None


def test_validation_is_joined_if_all_tasks_have_some() -> None:
    held_out = Examples(torch.ones(2, 3), torch.tensor([0, 1]))
    some = Task("some", ("no", "yes"), Examples(torch.zeros(2, 3), torch.tensor([0, 1])), validation=held_out)
    more = Task("more", ("no", "yes"), Examples(torch.zeros(2, 3), torch.tensor([0, 1])), validation=held_out)
    joint = joint_task("both", [some, more])
    assert joint.validation is not None
    assert joint.validation.targets.tolist() == [0, 1, 2, 3]


def test_inputs_that_differ_are_refused() -> None:
    some = Task("some", ("no", "yes"), Examples(torch.zeros(2, 3), torch.tensor([0, 1])))
    other = Task("other", ("no", "yes"), Examples(torch.zeros(2, 4), torch.tensor([0, 1])))
    for tasks in ([], [some, other]):
        with pytest.raises(TaskError, match="one shape and type"):
            joint_task("all", tasks)


def test_test_examples_are_joined_if_all_tasks_have_some() -> None:
    train, test = Examples(torch.zeros(2, 3), torch.tensor([0, 1])), Examples(torch.ones(1, 3), torch.tensor([1]))
    some, more = (Task(name, ("no", "yes"), train, test) for name in ("some", "more"))
    joint = joint_task("both", [some, more])
    assert joint.test is not None
    assert joint.test.targets.tolist() == [1, 3]
    assert joint_task("both", [some, Task("none", ("no", "yes"), train)]).test is None
