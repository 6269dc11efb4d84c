"""A router reads the first task before it is trained; what is wrong with it is said as without a router."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from supermasks import Examples, Learner, Task
from supermasks.errors import SupermasksError
from supermasks.inference import OneShot, TaskInference
from supermasks.nets import fully_connected
from supermasks.router import Auto, LinearDiscriminant, Trunk
from supermasks.training import Training
from supermasks.workers import LocalProcesses

GOOD = torch.randn(20, 6, generator=torch.Generator().manual_seed(0))
WRONG: dict[str, Tensor] = {
    "float64": GOOD.double(),
    "not finite": GOOD / 0,
    "integers": torch.arange(120).reshape(20, 6) * 10**9,
    "too few columns": GOOD[:, :5],
}
ROUTERS: list[TaskInference] = [Auto(), LinearDiscriminant(), LinearDiscriminant(features=Trunk())]
WAYS: dict[str, Callable[[Learner, Task], Any]] = {
    "alone": lambda learner, task: learner.learn(task, progress=None),
    "together": lambda learner, task: learner.learn_together([task], progress=None),
    "apart": lambda learner, task: learner.learn_apart([task], LocalProcesses(1)),
}


def error_of(inference: TaskInference, inputs: Tensor, way: str) -> tuple[type[Exception], str]:
    """The error of learning a first task with these inputs; without the number of inputs at which it was noticed."""
    learner = Learner(fully_connected([6, 8, 4]), seed=0, training=Training(steps=2), inference=inference)
    with pytest.raises(SupermasksError) as caught:
        WAYS[way](learner, Task("t", (0, 1), Examples(inputs, torch.arange(20) % 2)))
    assert learner.tasks == []
    return caught.type, str(caught.value).split(", in a batch of")[0]


@pytest.mark.parametrize("router", ROUTERS, ids=["auto", "usual", "trunk"])
@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("way", ["alone", "together"])
def test_wrong_inputs_are_named_as_without_a_router(way: str, wrong: str, router: TaskInference) -> None:
    assert error_of(router, WRONG[wrong], way) == error_of(OneShot(), WRONG[wrong], way)


def test_nor_does_it_matter_on_workers() -> None:
    """The features of the first task are made before any worker has seen it."""
    for wrong in WRONG.values():
        assert error_of(ROUTERS[2], wrong, "apart") == error_of(OneShot(), wrong, "alone")
