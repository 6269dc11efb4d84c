"""What every method keeps to; a new method is found by itself."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from default_dtype import default_dtype, default_dtypes
from ours import ours
from torch import Tensor, nn

from supermasks import BankFolder, Learner, Network, Task
from supermasks.bases import RandomBase
from supermasks.changes import Change, Difference, Shifted, change_kinds
from supermasks.errors import ConfigError
from supermasks.masks import Drop, Threshold
from supermasks.methods import BatchEnsemble, ExSSNeT, Individual, Method, Outliers, SignedMasks, SupSup
from supermasks.spec import build, describe
from supermasks.training import Adam, Step, Training
from supermasks.workers import LocalProcesses

ROWS: list[Method] = [
    *(kind() for kind in ours(Method)),
    ExSSNeT(together=True, precision="int4"),
    ExSSNeT(exclusive=False),
    Individual(precision="float16"),
]
NAMES = ("a", "b", "c")
STEPS = 40
WITHOUT_HEAD = (Outliers,)
"""Methods that reject networks with a head: a task's own head has no superfluous neurons."""


def head_of(method: Method) -> str | None:
    return None if isinstance(method, WITHOUT_HEAD) else "6"


rows = pytest.mark.parametrize("method", ROWS, ids=repr)
rows_and_heads = pytest.mark.parametrize(
    ("method", "head"),
    [*((row, None) for row in ROWS), *((row, head_of(row)) for row in ROWS if head_of(row) is not None)],
    ids=repr,
)
Blobs = Callable[..., Task]


def module() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(216, 16),
        nn.ReLU(),
        nn.Linear(16, 5),
    )


def make(method: Method, head: str | None = None) -> Learner:
    network = Network(module(), RandomBase(2), head=head)
    return Learner(network, seed=4, method=method, training=Training(STEPS, 12, Adam(1e-2)))


def tasks_of(blobs: Blobs) -> list[Task]:
    return [blobs(name, 3, (1, 6, 6)) for name in NAMES]


def logits(learner: Learner, tasks: Sequence[Task]) -> list[Tensor]:
    return [learner.network.logits(task.train.batch(torch.arange(9))[0], learner.bank[task.name]) for task in tasks]


def same(first: Sequence[Tensor], second: Sequence[Tensor]) -> bool:
    return all(torch.equal(ours, theirs) for ours, theirs in zip(first, second, strict=True))


@rows_and_heads
def test_earlier_answers_stay_bit_for_bit_unless_the_method_forgets(
    method: Method, head: str | None, blobs: Blobs
) -> None:
    learner, tasks = make(method, head), tasks_of(blobs)
    learner.learn(tasks[0])
    before = logits(learner, tasks[:1])
    assert learner.accuracy(tasks[0].train, "a") > 0.5  # chance is a third
    for task in tasks[1:]:
        learner.learn(task)
        assert learner.accuracy(task.train, task.name) > 0.5  # chance is a third
    assert same(logits(learner, tasks[:1]), before) != method.forgets


@rows
def test_a_training_that_is_stopped_in_any_stage_ends_with_the_same_bits(
    method: Method, blobs: Blobs, tmp_path: Path
) -> None:
    whole, stopped, tasks = make(method), make(method), tasks_of(blobs)[:2]
    for task in tasks:
        whole.learn(task)
    stopped.learn(tasks[0])
    stops = iter((3, STEPS // 2, STEPS // 2 + 1, STEPS))

    def stop(done: int, total: int, at: int) -> None:
        if done == at:
            raise KeyboardInterrupt

    for at in stops:
        with pytest.raises(KeyboardInterrupt):
            stopped.learn(tasks[1], lambda done, total, at=at: stop(done, total, at), tmp_path / "checkpoint")
    stopped.learn(tasks[1], checkpoint=tmp_path / "checkpoint")
    assert list(tmp_path.iterdir()) == []
    assert same(logits(stopped, tasks), logits(whole, tasks))
    assert stopped.bank.memory.keys() == whole.bank.memory.keys()
    assert same(list(stopped.bank.memory.values()), list(whole.bank.memory.values()))


@rows_and_heads
def test_saving_and_loading_change_nothing(method: Method, head: str | None, blobs: Blobs, tmp_path: Path) -> None:
    learner, tasks = make(method, head), tasks_of(blobs)
    for task in tasks:
        learner.learn(task)
        learner.save(tmp_path / "bank")
    loaded = Learner.load(tmp_path / "bank", module())
    assert loaded.method == method
    assert same(logits(loaded, tasks), logits(learner, tasks))
    assert loaded.network.weights.history == learner.network.weights.history
    for name in NAMES:
        ours, theirs = learner.bank[name], loaded.bank[name]
        assert (ours.info, ours.over, ours.replaced, ours.answers) == (
            theirs.info,
            theirs.over,
            theirs.replaced,
            theirs.answers,
        )
        assert ours.changes.keys() == theirs.changes.keys()
    folder = BankFolder(tmp_path / "bank")
    assert folder.verify(folder.open().network(module())) == []
    last = tasks_of(blobs)[0]
    for each in (learner, loaded):
        each.learn(Task("d", last.classes, last.train))
    assert torch.equal(
        *(each.network.logits(last.train.batch(torch.arange(9))[0], each.bank["d"]) for each in (learner, loaded))
    )


class Scaled(nn.Module):
    """A network with a parameter of no dimension."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.last = nn.Conv2d(1, 4, 3), nn.Linear(64, 5)
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.conv(x).relu().flatten(1) * self.scale)


@rows
def test_a_shared_weight_may_be_a_single_number(method: Method, blobs: Blobs, tmp_path: Path) -> None:
    """All methods ended in an error of Python. Some cannot have it, and say so."""
    if hasattr(method, "rule"):
        method = replace(method, rule=Drop(0) if isinstance(method, SignedMasks) else Threshold(-1.0))  # it is kept
    network = Network(Scaled(), RandomBase(2), select=["scale", "conv.weight", "last.weight"])
    learner = Learner(network, seed=4, method=method, training=Training(6, 12, Adam(1e-2)))
    tasks = tasks_of(blobs)[:2]
    if isinstance(method, BatchEnsemble):
        with pytest.raises(ConfigError, match=r"'scale' is a single number.*exclude it with select"):
            learner.learn(tasks[0])
        return
    for task in tasks:
        learner.learn(task)
    learner.save(tmp_path / "bank")
    loaded = Learner.load(tmp_path / "bank", Scaled())
    assert same(logits(loaded, tasks), logits(learner, tasks))
    for task, found in zip(tasks, logits(loaded, tasks), strict=True):
        values = {**network.constants, **loaded.network.effective(loaded.bank[task.name])}
        assert values["scale"].shape == ()
        x = nn.functional.conv2d(task.train.batch(torch.arange(9))[0], values["conv.weight"], values["conv.bias"])
        plain = (x.relu().flatten(1) * values["scale"]) @ values["last.weight"].T + values["last.bias"]
        torch.testing.assert_close(found, plain)


@rows
def test_bytes_on_disk_are_those_that_a_state_says(method: Method, blobs: Blobs, tmp_path: Path) -> None:
    learner = make(method, head_of(method))
    for task in tasks_of(blobs):
        learner.learn(task)
    BankFolder(tmp_path / "bank", relative=False).save(learner.bank)
    taken, said = BankFolder(tmp_path / "bank").bytes(), [learner.bank[name].nbytes() for name in NAMES]
    for item in ("masks", "owned", "dense", "norm", "router"):
        assert getattr(taken, item) == sum(size[item] for size in said)
    files = sum(file.stat().st_size for file in (tmp_path / "bank").rglob("*") if file.is_file())
    assert taken.total + taken.memory == files


@rows
@default_dtypes
def test_the_default_type_of_torch_does_not_matter(method: Method, dtype: torch.dtype, blobs: Blobs) -> None:
    plain, other, tasks = make(method, head_of(method)), make(method, head_of(method)), tasks_of(blobs)[:2]
    for learner in (plain, other):
        learner.training = Training(6, 12, Adam(1e-2))
    for task in tasks:
        plain.learn(task)
        with default_dtype(dtype):
            other.learn(task)
    assert same(logits(other, tasks), logits(plain, tasks))
    assert other.bank.memory.keys() == plain.bank.memory.keys()
    assert same(list(other.bank.memory.values()), list(plain.bank.memory.values()))


@rows
def test_a_method_is_a_value_that_is_stored(method: Method) -> None:
    assert build(describe(method), Method) == method
    hash(method)


@rows
def test_a_callback_ends_a_task_and_it_is_kept(method: Method, blobs: Blobs) -> None:
    learner, task = make(method), tasks_of(blobs)[0]

    def stop(step: Step) -> str | None:
        return "stop" if step.step == 5 else None

    fit = learner.learn(task, callbacks=[stop])  # pyright: ignore[reportArgumentType]
    assert (fit.steps, fit.ended) == (5, "callback")
    assert logits(learner, [task])[0].isfinite().all()


# A process begins for each: two kinds of states stand for all but in the nightly run.
@pytest.mark.parametrize(
    "method",
    [
        row if type(row) in (SupSup, Individual) else pytest.param(row, marks=pytest.mark.nightly)
        for row in ROWS
        if not row.builds_on_past
    ],
    ids=repr,
)
def test_tasks_that_do_not_build_on_each_other_are_learned_apart_alike(method: Method, blobs: Blobs) -> None:
    one_by_one, apart, tasks = make(method), make(method), tasks_of(blobs)
    for task in tasks:
        one_by_one.learn(task)
    apart.learn_apart(tasks, LocalProcesses(1))
    assert same(logits(apart, tasks), logits(one_by_one, tasks))


def test_changes_of_every_kind_come_from_some_method(blobs: Blobs) -> None:
    """So that the tests of changes see all of them."""
    seen: set[type[Change]] = set()
    for method in ROWS:
        learner = make(method, head_of(method))
        learner.learn(tasks_of(blobs)[0])
        seen |= {type(change) for change in learner.bank["a"].changes.values()}
    seen |= {Difference, Shifted}  # of `compress`; the contract of changes has a row for it
    assert {kind for kind in change_kinds().values() if kind.__module__.startswith("supermasks.")} == seen
