"""Tasks that are removed and renamed, a learner that moves, and how well it does on labels that one has."""

import sys
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from supermasks import BankFolder, Learner, Network, Task
from supermasks.bases import RandomBase
from supermasks.errors import (
    ConfigError,
    DuplicateTaskError,
    InputError,
    LabelError,
    MaskError,
    TaskError,
    UnknownTaskError,
)
from supermasks.masks import TopK
from supermasks.methods import EWC, ExSSNeT, Method, SupSup
from supermasks.router import LinearDiscriminant
from supermasks.training import LearnedTask

Make = Callable[..., Learner]
MakeTask = Callable[..., Task]


@pytest.fixture
def learned(small: Make, blobs: MakeTask) -> Learner:
    learner = small(steps=60)
    for name in "abcd":
        learner.learn(blobs(name))
    return learner


@pytest.fixture
def x(blobs: MakeTask) -> Tensor:
    return torch.cat([blobs(name).train.inputs for name in "abcd"])


def test_tasks_are_the_names_in_the_order_of_learning(learned: Learner, small: Make) -> None:
    assert small().tasks == []
    assert learned.tasks == learned.bank.names == ["a", "b", "c", "d"]
    learned.tasks.append("mine")
    assert learned.tasks == ["a", "b", "c", "d"]


def test_a_task_that_was_removed_is_as_if_it_had_never_been_learned(
    learned: Learner, small: Make, blobs: MakeTask, x: Tensor, tmp_path: Path
) -> None:
    learned.predict(x)  # fills what is kept for the next question
    state = learned.remove("b")
    never = small(steps=60)
    for name in "acd":
        never.learn(blobs(name))
    assert learned.tasks == ["a", "c", "d"]
    assert torch.equal(learned.infer(x).evidence, never.infer(x).evidence)
    assert learned.predict(x).labels == never.predict(x).labels
    for name in ("b", "x", 5):
        with pytest.raises(UnknownTaskError):
            learned.remove(name)  # pyright: ignore
    learned.save(tmp_path / "bank")
    assert BankFolder(tmp_path / "bank").open().names == ["a", "c", "d"]
    learned.add(state)
    assert learned.tasks == ["a", "c", "d", "b"]
    assert torch.equal(learned.network.logits(x, learned.bank["b"]), small_logits(small, blobs, x))


def small_logits(small: Make, blobs: MakeTask, x: Tensor) -> Tensor:
    alone = small(steps=60)
    alone.learn(blobs("b"))
    return alone.network.logits(x, alone.bank["b"])


def test_a_task_that_others_build_on_is_not_removed(small: Make, blobs: MakeTask, x: Tensor) -> None:
    learner = small(method=ExSSNeT(TopK(0.3)))
    for name in "ab":
        learner.learn(blobs(name))
    before = learner.predict(x, task="b").confidence
    with pytest.raises(TaskError, match="cannot be removed"):
        learner.remove("a")
    learner.rename("a", "first")
    assert learner.tasks == ["first", "b"]
    assert torch.equal(learner.predict(x, task="b").confidence, before)
    learner.learn(blobs("c"))
    assert torch.equal(learner.predict(x, task="b").confidence, before)


def test_a_new_name_changes_nothing_but_the_name(learned: Learner, x: Tensor, tmp_path: Path) -> None:
    before = learned.predict(x)
    assert before.belief is not None
    learned.rename("b", "new")
    after = learned.predict(x)
    assert after.belief is not None
    assert learned.tasks == ["a", "new", "c", "d"]
    assert after.tasks == ["new" if name == "b" else name for name in before.tasks]
    assert "new" in after.tasks
    assert after.labels == before.labels
    assert torch.equal(after.belief.evidence, before.belief.evidence)
    with pytest.raises(DuplicateTaskError):
        learned.rename("new", "a")
    with pytest.raises(UnknownTaskError):
        learned.rename("b", "c2")
    learned.save(tmp_path / "bank")
    assert BankFolder(tmp_path / "bank").open().names == ["a", "new", "c", "d"]


def test_a_calibration_survives_a_new_name_and_a_move_but_not_the_loss_of_a_task(
    learned: Learner, blobs: MakeTask, x: Tensor
) -> None:
    held_out = {name: blobs(name).test for name in "abcd"}
    learned.calibrate(held_out, level=0.05)  # pyright: ignore[reportArgumentType]
    before = learned.predict(x)
    assert before.task_confidence is not None
    learned.rename("c", "z")
    learned.to("cpu")
    after = learned.predict(x)
    assert after.task_confidence is not None
    assert torch.equal(after.task_confidence, before.task_confidence)
    assert learned.calibration is not None
    assert learned.calibration.candidates == ("a", "b", "z", "d")
    learned.remove("z")
    with pytest.raises(ConfigError, match="calibrate anew, or go on without one"):
        learned.predict(x)
    learned.rename("a", "y")  # makes no stale calibration good again
    with pytest.raises(ConfigError, match="calibrate anew"):
        learned.predict(x)
    learned.calibration = None
    assert learned.predict(x).task_confidence is None


@pytest.mark.parametrize("kind", ["plain", "batch norm", "owners", "head"])
def test_a_learner_that_moves_answers_and_learns_as_before(
    kind: str, small: Make, blobs: MakeTask, cnn: Callable[..., nn.Module]
) -> None:
    shape = (1, 6, 6) if kind == "batch norm" else (8,)
    if kind == "head":
        module = nn.Sequential(nn.Linear(8, 12), nn.ReLU(), nn.Linear(12, 4))
        learner = small(Network(module, RandomBase(0), head="2"))
    else:
        settings = {"method": ExSSNeT(TopK(0.3))} if kind == "owners" else {}
        learner = small(cnn() if kind == "batch norm" else None, **settings)
    for name in "ab":
        learner.learn(blobs(name, 3, shape))
    inputs = blobs("a", 3, shape).train.inputs
    stays = deepcopy(learner)
    before, network = learner.predict(inputs, task="a").confidence, learner.network
    assert learner.to(torch.device("cpu")) is learner
    assert torch.equal(learner.predict(inputs, task="a").confidence, before)
    assert torch.equal(network.logits(inputs, learner.bank["a"]), stays.network.logits(inputs, stays.bank["a"]))
    for one in (learner, stays):
        one.learn(blobs("c", 3, shape))
    assert learner.bank["c"].mask == stays.bank["c"].mask


@pytest.mark.parametrize("device", ["meta", torch.device("meta"), "cuda:99", "nonsense", "xpu", 99, None, ["cpu"]])
def test_a_device_that_cannot_compute_is_refused_and_nothing_moves(learned: Learner, device: object, x: Tensor) -> None:
    before = learned.predict(x).labels
    with pytest.raises(ConfigError, match="device"):
        learned.to(device)  # pyright: ignore
    assert learned.predict(x).labels == before
    assert str(learned.network.device) == "cpu"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_learner_moves_to_a_gpu_and_back(learned: Learner, x: Tensor) -> None:
    before = learned.predict(x, task="a")
    there = learned.to("cuda").predict(x, task="a")
    assert learned.network.device.type == "cuda"
    assert torch.allclose(there.confidence, before.confidence, atol=1e-4)
    assert torch.equal(learned.to("cpu").predict(x, task="a").confidence, before.confidence)


# Scores and probabilities


@pytest.fixture
def animals(small: Make, blobs: MakeTask) -> Learner:
    learner = small(steps=60)
    learner.learn(blobs("a", ["cat", "dog"]))
    learner.learn(blobs("b", ["dog", "cow", "cat"]))
    return learner


def test_a_score_is_the_share_of_right_labels(animals: Learner, blobs: MakeTask) -> None:
    inputs = blobs("b", 3).train.inputs
    found = animals.predict(inputs, task="b").labels
    labels = [label if n % 4 else "dog" for n, label in enumerate(found)]
    expected = sum(ours == theirs for ours, theirs in zip(found, labels, strict=True)) / 60
    assert 0.5 < expected < 1
    for given in (labels, tuple(labels), np.array(labels)):
        assert animals.score(inputs, given, task="b") == expected
        assert animals.score(inputs, given, "b", chunk=7) == expected
    anywhere = animals.predict(inputs).labels
    assert animals.score(inputs, anywhere) == 1.0
    assert animals.score(inputs, ["cow"] * 60) == anywhere.count("cow") / 60


def test_labels_are_labels_and_not_indices(animals: Learner, small: Make, blobs: MakeTask) -> None:
    inputs = blobs("a").train.inputs
    for labels, task in ((torch.zeros(60, dtype=torch.int64), "a"), (["cow"] * 60, "a"), (["cow", "hen"] * 30, None)):
        with pytest.raises(LabelError, match=r"a label must be among the classes 'cat', 'dog'.*not indices"):
            animals.score(inputs, labels, task)
    for labels in (["cat"] * 59, [], "cat"):
        with pytest.raises(LabelError):
            animals.score(inputs, labels, "a")
    numbers = small(steps=60)
    numbers.learn(blobs("a", [7, 3]))
    inputs = blobs("a", [7, 3]).train.inputs
    truth = torch.tensor([7, 3]).repeat(30)
    assert numbers.score(inputs, truth, "a") == numbers.score(inputs, truth.double(), "a")
    assert numbers.score(inputs, truth, "a") == numbers.accuracy(blobs("a", [7, 3]).train, "a")


def test_probabilities_are_those_of_the_classes_in_their_order(animals: Learner, blobs: MakeTask) -> None:
    inputs = blobs("b", 3).train.inputs
    found = animals.predict_proba(inputs, "b")
    logits = animals.network.logits(inputs, animals.bank["b"])
    assert found.shape == (60, 3)
    assert torch.allclose(found.double(), logits[:, :3].double().exp() / logits[:, :3].double().exp().sum(1)[:, None])
    assert torch.allclose(found.sum(dim=1), torch.ones(60))
    assert [("dog", "cow", "cat")[n] for n in found.argmax(1).tolist()] == animals.predict(inputs, task="b").labels
    assert torch.equal(animals.predict_proba(inputs, "b", chunk=60), found)
    with pytest.raises(UnknownTaskError):
        animals.predict_proba(inputs, "x")
    with pytest.raises(InputError):
        animals.predict_proba(inputs[:, :3], "b")


def test_probabilities_without_a_task_need_classes_that_agree(
    animals: Learner, learned: Learner, x: Tensor, small: Make
) -> None:
    with pytest.raises(ConfigError, match="the classes of the tasks differ"):
        animals.predict_proba(x)
    found, prediction = learned.predict_proba(x), learned.predict(x)
    assert torch.allclose(found.sum(dim=1), torch.ones(len(x)))
    assert found.argmax(dim=1).tolist() == prediction.labels
    assert torch.equal(found.amax(dim=1), prediction.confidence)
    assert len(set(prediction.tasks)) > 1
    with pytest.raises(TaskError, match="no task was learned yet"):
        small().predict_proba(x)


class Interrupted(BaseException):
    """Stands for a Control-C."""


def interrupted(call: Callable[[], object], at: int) -> bool:
    """Return whether a call came to the `at`-th place where Python may raise Control-C; it ends there."""
    seen = 0

    def count(frame: object, event: str, what: object) -> None:
        nonlocal seen
        seen += event in ("call", "c_return")
        if seen == at:
            sys.setprofile(None)
            raise Interrupted

    try:
        sys.setprofile(count)
        call()
    except Interrupted:
        return True
    finally:
        sys.setprofile(None)
    return False


def contents(learner: Learner, inputs: Tensor) -> list[object]:
    """Return all that tasks have left in a learner."""
    bank = learner.bank
    counted = {} if bank.moments is None else bank.moments.tensors()
    shared = [
        (name, value.numpy().tobytes()) for each in (bank.memory, bank.weights, counted) for name, value in each.items()
    ]
    answers = [(name, learner.network.logits(inputs, bank[name]).numpy().tobytes()) for name in learner.tasks]
    return [answers, bank.over, learner.network.weights.over, shared]


def test_tasks_learned_in_two_processes_are_recognised_as_if_one_had_learned_all(
    small: Make, blobs: MakeTask, x: Tensor, tmp_path: Path
) -> None:
    truth, copies = small(inference=LinearDiscriminant()), list[Learner]()
    truth.learn(blobs("a"))
    truth.save(tmp_path)
    for name in "bc":
        copies.append(small(inference=LinearDiscriminant()))
        copies[-1].adopt(BankFolder(tmp_path).read())
        copies[-1].learn(blobs(name))
        truth.learn(blobs(name))
    ours, theirs = copies
    alone = theirs.bank.moments.minus(BankFolder(tmp_path).open().moments)  # pyright: ignore[reportOptionalMemberAccess, reportArgumentType]
    before = contents(ours, x)
    for moments, message in ((None, "lack task 'c'"), (theirs.bank.moments, r"would count twice; .*\.minus")):
        with pytest.raises(MaskError, match=message):
            ours.add(theirs.bank["c"], moments=moments)
        assert contents(ours, x) == before
    ours.add(theirs.bank["c"], moments=alone)
    folder = BankFolder(tmp_path)
    folder.append(ours.bank["b"], moments=ours.bank.moments)
    folder.append(ours.bank["c"], moments=ours.bank.moments)
    stored = small(inference=LinearDiscriminant())
    stored.adopt(folder.read())
    for learner in (ours, stored):
        assert contents(learner, x) == contents(truth, x)
        assert learner.predict(x).tasks == truth.predict(x).tasks


def test_a_router_of_a_learner_without_tasks_begins_anew(small: Make, blobs: MakeTask, x: Tensor) -> None:
    """Features fitted on inputs of another scale would make all tasks look the same."""
    truth, learner = small(inference=LinearDiscriminant()), small(inference=LinearDiscriminant())
    slip = blobs("slip")
    learner.learn(replace(slip, train=replace(slip.train, view=lambda inputs: 1000 + inputs)))
    learner.remove("slip")
    for name in "abcd":
        for each in (truth, learner):
            each.learn(blobs(name))
    assert contents(learner, x) == contents(truth, x)
    assert torch.equal(learner.infer(x).evidence, truth.infer(x).evidence)


@pytest.mark.parametrize("method", [SupSup(), ExSSNeT(), EWC()], ids=lambda method: type(method).__name__)
def test_wherever_a_new_task_is_interrupted_all_of_it_is_there_or_nothing(
    method: Method, small: Make, blobs: MakeTask, x: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, found = small(method=method, inference=LinearDiscriminant(), steps=5), list[LearnedTask]()
    first.learn(blobs("a"))
    with monkeypatch.context() as patch:
        patch.setattr(first, "_add", found.append)
        first.learn(blobs("b"))
    whole = deepcopy(first)
    whole._add(found[0])  # pyright: ignore[reportPrivateUsage]
    before, after = contents(first, x[:4]), contents(whole, x[:4])
    assert before != after
    learner, at, ends = deepcopy(first), 1, list[bool]()
    while interrupted(partial(learner._add, found[0]), at):  # pyright: ignore[reportPrivateUsage]
        now = contents(learner, x[:4])
        assert now in (before, after)
        ends.append(now == after)
        learner, at = deepcopy(first) if ends[-1] else learner, at + 11  # not each place, which would take minutes
    assert ends.count(False) > 10
