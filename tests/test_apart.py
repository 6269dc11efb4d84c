"""Tasks that are learned on workers are those of one after the other, bit for bit."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from supermasks import BankFolder, Learner, Network, Task
from supermasks.bases import RandomBase
from supermasks.errors import ConfigError, DuplicateTaskError, InputError, LabelError, TaskError
from supermasks.methods import Diluted, ExSSNeT, Individual, Method, SupSup
from supermasks.nets import fully_connected
from supermasks.scores import KKT, KaimingUniform, MeanOfMasks, MeanOfScores
from supermasks.training import Adam, Fit, Training
from supermasks.types import Examples
from supermasks.workers import LocalProcesses

Blobs = Callable[..., Task]


def learner(method: Method | None = None) -> Learner:
    net = torch.nn.Sequential(
        torch.nn.Linear(8, 16, bias=False),
        torch.nn.BatchNorm1d(16, affine=False),
        torch.nn.ReLU(),
        torch.nn.Linear(16, 8),
    )
    return Learner(Network(net, RandomBase(0)), seed=4, method=method, training=Training(12, 16, Adam(1e-2)))


def same(one: Learner, other: Learner, folder: Path) -> bool:
    for learner, name in ((one, "one"), (other, "other")):
        learner.save_pretrained(folder / name)
    files = sorted(file.name for file in (folder / "one" / "tasks").iterdir())
    assert files == sorted(file.name for file in (folder / "other" / "tasks").iterdir())
    return all(
        (folder / "one" / "tasks" / name).read_bytes() == (folder / "other" / "tasks" / name).read_bytes()
        for name in files
    )


@pytest.mark.parametrize(
    "method",
    [SupSup(), *(pytest.param(one, marks=pytest.mark.nightly) for one in (Diluted(share=0.3), Individual()))],
    ids=lambda m: type(m).__name__,
)
def test_workers_learn_what_one_process_learns(method: Method, blobs: Blobs, tmp_path: Path) -> None:
    tasks = [blobs(f"t{n}", 2 + n % 3) for n in range(5)]
    alone, apart = learner(method), learner(method)
    fits = [alone.learn(task) for task in tasks]
    told: list[tuple[str, Fit]] = []
    got = apart.learn_apart(tasks, LocalProcesses(2), lambda name, fit: told.append((name, fit)))
    assert apart.bank.names == [task.name for task in tasks] == [name for name, _ in told]
    assert [fit.loss for fit in got] == [fit.loss for fit in fits] == [fit.loss for _, fit in told]
    assert same(alone, apart, tmp_path)
    assert len(BankFolder(tmp_path / "one").open()) == 5


def test_what_was_there_stays_and_more_can_follow(blobs: Blobs, tmp_path: Path) -> None:
    tasks = [blobs(f"t{n}", 3) for n in range(4)]
    alone, apart = learner(), learner()
    for task in tasks:
        alone.learn(task)
    apart.learn(tasks[0])
    apart.learn_apart(tasks[1:3], LocalProcesses(2))
    apart.learn(tasks[3])
    assert same(alone, apart, tmp_path)
    assert apart.learn_apart([], LocalProcesses(2)) == []


@pytest.mark.parametrize(
    "method",
    [
        ExSSNeT(),
        SupSup(initial=KKT()),
        SupSup(initial=MeanOfMasks()),
        SupSup(initial=MeanOfScores()),
        Individual(warm=True),
    ],
    ids=["exssnet", "kkt", "masks", "scores", "warm"],
)
def test_tasks_that_build_on_each_other_are_refused(method: Method, blobs: Blobs) -> None:
    one = learner(method)
    with pytest.raises(ConfigError, match="one by one"):
        one.learn_apart([blobs("a", 2), blobs("b", 2)], LocalProcesses(2))
    assert len(one.bank) == 0
    assert not SupSup(initial=KaimingUniform(shared=True)).builds_on_past


def test_names_must_be_new_and_differ(blobs: Blobs) -> None:
    one = learner()
    one.learn(blobs("a", 2))
    with pytest.raises(DuplicateTaskError):
        one.learn_apart([blobs("b", 2), blobs("a", 2)], LocalProcesses(1))
    with pytest.raises(TaskError, match="different names"):
        one.learn_apart([blobs("b", 2), blobs("b", 3)], LocalProcesses(1))
    assert one.bank.names == ["a"]


def test_a_task_that_cannot_be_learned_is_an_error_and_those_before_it_stay(blobs: Blobs) -> None:
    good, one = blobs("good", 2), learner()
    bad = replace(blobs("bad", 2), train=Examples(torch.full((20, 8), torch.nan), torch.arange(20) % 2))
    with pytest.raises(InputError, match="finite"):
        one.learn_apart([good, bad], LocalProcesses(1))
    assert one.bank.names == ["good"]
    with pytest.raises(LabelError, match="8 outputs"):
        one.learn_apart([blobs("many", 9)], LocalProcesses(1))


def test_a_network_of_another_shape_is_an_error_of_ours(blobs: Blobs) -> None:
    one = Learner(fully_connected([5, 4, 3]), training=Training(3, 16))
    with pytest.raises(InputError, match="cannot take inputs"):
        one.learn_apart([blobs("a", 2)], LocalProcesses(1))
