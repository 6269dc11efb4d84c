"""A shortlist leaves the choice as it is where the gradient tells tasks apart, and says what it did not look at."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

import supermasks.inference.shortlist as shortlist
from supermasks import Learner, Network, Task
from supermasks.bases import RandomBase
from supermasks.changes import Change, Masked, RankOne, Replaced, Unchanged
from supermasks.errors import InputError
from supermasks.inference import (
    Entropy,
    MaxProbability,
    Objective,
    OneShot,
    SuperfluousNeurons,
    TaskInference,
    TwoShot,
)
from supermasks.inference.gradients import batch_weight_gradients
from supermasks.inference.shortlist import Shortlist
from supermasks.inference.task_inference import uniform
from supermasks.masks import Mask
from supermasks.nets import fully_connected
from supermasks.state import TaskState
from supermasks.superposition import Superposition
from supermasks.task_info import TaskInfo
from supermasks.training import Training

OBJECTIVES = [Entropy(), SuperfluousNeurons(), MaxProbability()]


@pytest.mark.parametrize("kind", ["mlp", "cnn"])
@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda o: type(o).__name__)
def test_with_all_weights_and_all_tasks_it_is_exact(
    worlds: Callable[..., Any], kind: str, objective: Objective
) -> None:
    world = worlds(kind, 6)
    exact, listed = OneShot(objective), OneShot(objective, exact=False)
    for method in ("infer", "infer_each"):
        expected = getattr(exact, method)(world.superposition, world.inputs)
        got = getattr(listed, method)(world.superposition, world.inputs)
        torch.testing.assert_close(got.evidence, expected.evidence)
        assert got.tasks == expected.tasks


def test_the_evidence_of_listed_tasks_is_exact_and_of_others_missing(
    worlds: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shortlist, "LISTED", 3)
    monkeypatch.setattr(shortlist, "LOOKED_AT", 7)
    world = worlds("mlp", 12)
    exact = OneShot().infer_each(world.superposition, world.inputs)
    got = OneShot(exact=False).infer_each(world.superposition, world.inputs)
    listed = got.evidence != -torch.inf
    assert listed.sum(dim=1).tolist() == [3] * len(world.inputs)
    torch.testing.assert_close(got.evidence[listed], exact.evidence[listed])
    assert not bool((got.evidence.argmax(dim=1) != got.chosen).any())


def test_the_list_is_of_the_tasks_with_the_largest_sums_over_the_largest_weights(
    worlds: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shortlist, "LISTED", 2)
    monkeypatch.setattr(shortlist, "LOOKED_AT", 32)
    monkeypatch.setattr(shortlist, "SAMPLED", 1)
    monkeypatch.setattr(shortlist, "INDEXED_WEIGHTS", 1)
    world = worlds("mlp", 9)
    superposition = world.superposition
    gradients = batch_weight_gradients(superposition, world.inputs, uniform(superposition), Entropy())
    found = Shortlist(superposition)
    (name,) = found.names
    saliency = (gradients[name] * world.network.weights[name]).flatten().double()
    # One less: what is looked at is larger than the least of the sampled.
    largest = saliency.abs().argsort(descending=True)[:31]
    sums = torch.stack([-saliency[largest][s.mask[name].flatten()[largest]].sum() for s in world.states])
    expected = sorted(sums.argsort(descending=True)[:2].tolist())
    assert list(found.candidates({name: gradients[name][None]})) == [expected]


@pytest.mark.parametrize("count", [9, 14, 3000])
def test_among_equals_the_tasks_learned_first_are_listed(count: int) -> None:
    for seed in range(20):
        sums = torch.randint(0, 5, (count,), generator=torch.Generator().manual_seed(seed)).float()
        expected = sorted(sorted(range(count), key=lambda i: (-float(sums[i]), i))[:8])
        assert shortlist._first_of_largest(sums, 8) == expected
    assert shortlist._first_of_largest(torch.zeros(count), 8) == list(range(8))
    assert shortlist._first_of_largest(torch.zeros(3), 8) == [0, 1, 2]


def test_copies_of_a_task_are_told_by_the_order_of_learning(worlds: Callable[..., Any]) -> None:
    world = worlds("mlp", 1)
    (state,) = world.states
    copies = [TaskState(replace(state.info, name=f"t{n}"), state.changes, state.buffers) for n in range(14)]
    superposition = Superposition(world.network, copies)
    for exact in (True, False):
        assert set(OneShot(exact=exact).infer_each(superposition, world.inputs).tasks) == {"t0"}
        assert list(OneShot(exact=exact).infer(superposition, world.inputs).tasks) == ["t0"]


def test_equal_entries_are_not_all_looked_at() -> None:
    row = torch.ones(100_000)
    assert len(shortlist._largest(row)) == shortlist.LOOKED_AT
    assert len(shortlist._largest(torch.zeros(50_000))) == shortlist.LOOKED_AT
    assert shortlist._largest(torch.randn(20)).tolist() == list(range(20))
    row = torch.randn(200_000, generator=torch.Generator().manual_seed(0))
    found = shortlist._largest(row)
    assert 0.8 < len(found) / shortlist.LOOKED_AT < 1.25
    assert float(row[found].abs().min()) >= float(row.abs().sort(descending=True).values[len(found) - 1])


def test_tasks_with_changes_of_all_kinds_are_listed_by_the_same_sums() -> None:
    """By a plain sum over all entries, since there are fewer than are looked at."""
    network, random = Network(fully_connected([4, 3]), RandomBase(0)), torch.Generator().manual_seed(0)
    changes: list[Change] = []
    for _ in range(4):
        entries = {"1.weight": torch.rand(3, 4, generator=random) < 0.5}
        value, vectors = torch.randn(3, 4, generator=random), (torch.randn(n, generator=random) for n in (3, 4))
        changes += [*Masked.of(Mask.pack(entries)).values(), Replaced(value), RankOne(*vectors, (3, 4))]
    changes.append(Unchanged((3, 4)))
    info = [TaskInfo(f"t{n}", (0, 1), (4,)) for n in range(len(changes))]
    states = [TaskState(about, {"1.weight": change}) for about, change in zip(info, changes, strict=True)]
    superposition = Superposition(network, states)
    gradients = torch.randn(5, 3, 4, generator=random)
    listed = list(Shortlist(superposition).candidates({"1.weight": gradients}))
    weight = network.weights["1.weight"]
    for gradient, found in zip(gradients, listed, strict=True):
        sums = torch.stack([(gradient * change.applied(weight)).sum() for change in changes])
        assert found == (-sums).topk(8).indices.sort().values.tolist()
    inputs = torch.randn(6, 4, generator=random)
    exact, short = (OneShot(exact=exact).infer_each(superposition, inputs) for exact in (True, False))
    assert exact.chosen.tolist() == short.chosen.tolist()


def test_outputs_that_are_not_finite_are_rejected(worlds: Callable[..., Any]) -> None:
    world = worlds("mlp", 12)
    inputs = world.inputs.clone()
    inputs[2] = 3e38
    for inference in (OneShot(), OneShot(exact=False)):
        with pytest.raises(InputError, match="finite"):
            inference.infer_each(world.superposition, inputs)


@pytest.mark.filterwarnings("ignore:.*no evidence")
@pytest.mark.parametrize("kind", [OneShot, TwoShot])
def test_without_weights_to_look_up_all_tasks_are_compared(
    kind: Callable[..., TaskInference], blobs: Callable[..., Task]
) -> None:
    net = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 1))
    learner = Learner(Network(net, RandomBase(0), select=[], head="2"), training=Training(steps=20))
    for name in "ab":
        learner.learn(blobs(name))
    inputs, found = blobs("a").train.inputs[:5], list[torch.Tensor]()
    for exact in (True, False):
        learner.inference = kind(exact=exact)
        found += [learner.infer(inputs).evidence, learner.infer(inputs, together=True).evidence]
    torch.testing.assert_close(found[2:], found[:2])
