"""KKT finds the earlier task that helps most, begins with its mask, and touches none."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.neighbors import KNeighborsClassifier
from states import changed
from torch import Tensor

from supermasks import Examples, Learner, Task
from supermasks.errors import ConfigError
from supermasks.masks import Threshold, TopK
from supermasks.methods import ExSSNeT, SupSup
from supermasks.nets import fully_connected
from supermasks.scores import KKT, KaimingUniform, Past
from supermasks.scores.kkt import classify_by_neighbours
from supermasks.state import TaskState
from supermasks.training import Adam, Training

Blobs = Callable[..., Task]
SHAPES = {"1.weight": (16, 8), "3.weight": (6, 16)}


@given(st.integers(0, 10_000), st.integers(1, 12), st.integers(2, 5))
def test_neighbours_vote_as_those_of_scikit_learn(seed: int, neighbours: int, classes: int) -> None:
    rng = np.random.default_rng(seed)
    known, unknown = rng.normal(size=(30, 4)).astype(np.float32), rng.normal(size=(20, 4)).astype(np.float32)
    labels = rng.integers(classes, size=30)
    ours = classify_by_neighbours(
        torch.from_numpy(known), torch.from_numpy(labels), torch.from_numpy(unknown), neighbours
    )
    theirs = KNeighborsClassifier(neighbours, algorithm="brute").fit(known, labels).predict(unknown)
    assert ours.tolist() == theirs.tolist()


def learned(method: SupSup, tasks: list[Task]) -> Learner:
    learner = Learner(fully_connected([8, 16, 6]), method=method, training=Training(60, 16, Adam(1e-2)))
    for task in tasks:
        learner.learn(task)
    return learner


def past_of(learner: Learner, task: Task) -> Past:
    return Past(tuple(learner.bank), {}, task.train, learner.network.logits)


@pytest.mark.parametrize("rule", [TopK(0.3), Threshold()], ids=repr)
def test_the_mask_of_the_nearest_task_is_where_it_begins(rule: TopK | Threshold, blobs: Blobs) -> None:
    """Of three tasks the second is the new one itself, under another name."""
    learner = learned(SupSup(rule), [blobs("a"), blobs("b"), blobs("c")])
    task = replace(blobs("b"), name="new")
    past = past_of(learner, task)
    accuracies, chance = KKT(examples=60).accuracies("new", 0, past)
    assert accuracies[1] == max(accuracies.values()) > 0.9 > chance
    nearest = KKT(examples=60).nearest("new", 0, past)
    assert nearest is not None
    scores = KKT(examples=60).scores(SHAPES, "new", 0, past)
    masks = rule.masks(scores)
    for name in SHAPES:
        assert torch.equal(masks[name] == 1, past.states[nearest].mask[name])
        # Random within: as many different scores as there are weights, nearly.
        assert len(scores[name].unique()) > 0.9 * scores[name].numel()
        assert float(scores[name].abs().max()) <= 1 / SHAPES[name][1] ** 0.5


def test_the_better_features_decide(blobs: Blobs) -> None:
    """The answers of a task are replaced by known features: labels in noise, more noise, and noise alone."""
    task = blobs("t", 3, (8,), 300)
    states = tuple(changed(learned(SupSup(), [blobs(name)]).bank[name], name=name) for name in "abc")
    noise = {"a": 30.0, "b": 0.3, "c": 2.0}
    lookup = {tuple(x.tolist()): int(y) for x, y in zip(*task.train.batch(torch.arange(300)), strict=True)}

    def logits(inputs: Tensor, state: TaskState) -> Tensor:
        rng = torch.Generator().manual_seed(1)
        targets = torch.tensor([lookup[tuple(x.tolist())] for x in inputs])
        return torch.eye(3)[targets] * 3 + noise[state.name] * torch.randn(len(inputs), 3, generator=rng)

    past = Past(states, {}, task.train, logits)
    accuracies, _ = KKT().accuracies("t", 0, past)
    assert accuracies[1] > accuracies[2] > accuracies[0]
    assert KKT().nearest("t", 0, past) == 1
    only_noise = Past((states[0],), {}, task.train, lambda inputs, state: torch.ones(len(inputs), 3))
    assert KKT().nearest("t", 0, only_noise) is None  # all neighbours are equally near: one class for all
    fresh = KaimingUniform().scores(SHAPES, "t", 0, Past())
    assert all(torch.equal(value, fresh[name]) for name, value in KKT().scores(SHAPES, "t", 0, only_noise).items())


@pytest.mark.parametrize(
    "method", [SupSup(TopK(0.4), KKT(examples=60)), ExSSNeT(TopK(0.4), KKT(examples=60))], ids=repr
)
def test_no_earlier_task_is_touched(method: SupSup, blobs: Blobs) -> None:
    tasks = [blobs(f"task-{n}") for n in range(4)]
    learner = Learner(fully_connected([8, 16, 6]), method=method, training=Training(60, 16, Adam(1e-2, 0.1)))
    seen: dict[str, Tensor] = {}
    for task in tasks:
        learner.learn(task)
        assert isinstance(task.train.inputs, Tensor)
        seen[task.name] = learner.network.logits(task.train.inputs, learner.bank[task.name])
        for earlier in tasks[: len(seen)]:
            assert isinstance(earlier.train.inputs, Tensor)
            again = learner.network.logits(earlier.train.inputs, learner.bank[earlier.name])
            assert torch.equal(again, seen[earlier.name])


def test_at_most_so_many_candidates_are_tried(blobs: Blobs) -> None:
    learner = learned(SupSup(TopK(0.4)), [blobs(f"task-{n}") for n in range(6)])
    past = past_of(learner, blobs("new"))
    assert set(KKT().accuracies("new", 0, past)[0]) == set(range(6))
    some = KKT(candidates=2).accuracies("new", 0, past)[0]
    assert len(some) == 2
    assert some.items() <= KKT().accuracies("new", 0, past)[0].items()
    assert KKT(candidates=9).accuracies("new", 0, past)[0].keys() == set(range(6))


def test_tasks_with_other_inputs_are_not_candidates(blobs: Blobs) -> None:
    learner = learned(SupSup(TopK(0.4)), [blobs("a"), blobs("b")])
    longer = blobs("new", 3, (9,))
    assert KKT().accuracies("new", 0, past_of(learner, longer))[0] == {}
    tiny = Task("tiny", (0, 1), Examples(torch.ones(2, 8), torch.tensor([0, 1])))
    assert KKT().nearest("tiny", 0, past_of(learner, tiny)) is None


def test_without_examples_or_logits_nothing_is_chosen_in_silence(blobs: Blobs) -> None:
    learner = learned(SupSup(TopK(0.4)), [blobs("a")])
    with pytest.raises(ConfigError, match="without examples or logits"):
        KKT().scores(SHAPES, "new", 0, Past(tuple(learner.bank)))
    first = KKT().scores(SHAPES, "new", 0, Past())
    assert all(torch.equal(v, KaimingUniform().scores(SHAPES, "new", 0, Past())[n]) for n, v in first.items())


@pytest.mark.parametrize("wrong", [{"neighbours": 0}, {"examples": 2}, {"candidates": 0}])
def test_numbers_that_cannot_work_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="at least 1 neighbour"):
        KKT(**wrong)


@pytest.mark.parametrize("offset", [0.0, 1e3, 2e4])
def test_a_common_part_of_features_does_not_blur_distances(offset: float) -> None:
    """Against distances in float64."""
    rng = torch.Generator().manual_seed(0)
    classes = torch.arange(200) % 2
    features = 0.3 * torch.randn(200, 10, generator=rng)
    features[:, 0] += 0.5 * classes
    features += offset
    found = classify_by_neighbours(features[:120], classes[:120], features[120:], 9)
    distances = (features[120:, None].double() - features[None, :120].double()).square().sum(dim=2)
    votes = classes[distances.argsort(dim=1)[:, :9]].sum(dim=1)
    assert torch.equal(found, (votes > 4).long())
