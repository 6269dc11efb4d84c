"""Linear discriminants over all tasks: the same as of all examples at once, whatever the tasks went through."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.covariance import oas
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from torch import Tensor, nn

from supermasks import BankFolder, Examples, Learner, MaskBank, Network, Task
from supermasks.bases import PretrainedBase, RandomBase
from supermasks.errors import BaseMismatchError, ConfigError, DuplicateTaskError, MaskError, TaskError, UnknownTaskError
from supermasks.inference import OneShot
from supermasks.moments import Moments
from supermasks.nets import fully_connected
from supermasks.router import Flat, LinearDiscriminant, RandomFeatures, Tokens, Trunk, Usual, features_of
from supermasks.router.linear_discriminant import rounding, shrinkage
from supermasks.superposition import Superposition
from supermasks.training import RMSprop, Training
from supermasks.types import Belief
from supermasks.workers import LocalProcesses

Blobs = Callable[..., Task]
Small = Callable[..., Learner]

RANDOM = LinearDiscriminant(features=RandomFeatures(30), shrinkage=0.05)
EXACT = replace(RANDOM, bits=16)
SHORT = Training(5, 16, RMSprop(1e-2))


def make(inference: LinearDiscriminant = RANDOM, backbone: nn.Module | Network | None = None) -> Learner:
    return Learner(backbone or fully_connected([8, 16, 6]), seed=0, training=SHORT, inference=inference)


@pytest.fixture
def tasks(blobs: Blobs) -> list[Task]:
    """Four tasks of different numbers of classes and examples."""
    return [blobs(name, 2 + n % 3, count=40 + 30 * n) for n, name in enumerate("abcd")]


@pytest.fixture
def learner(tasks: list[Task]) -> Learner:
    return learned(tasks)


def learned(tasks: list[Task], inference: LinearDiscriminant = RANDOM) -> Learner:
    """A learner of some tasks. The first one fits the features, which here have nothing to fit."""
    made = make(inference)
    for task in tasks:
        made.learn(task, progress=None)
    return made


def mixed(tasks: list[Task]) -> Tensor:
    """Inputs of all tasks, in a mixture."""
    inputs = torch.cat([task.test.batch(torch.arange(20))[0] for task in tasks])
    return inputs[torch.randperm(len(inputs), generator=torch.Generator().manual_seed(0))]


def asked(learner: Learner) -> Superposition:
    bank = learner.bank
    return Superposition(learner.network, [bank[name] for name in bank.names], bank.moments)


def evidence(learner: Learner, inputs: Tensor) -> dict[str, Tensor]:
    belief = learner.inference.infer_each(asked(learner), inputs)
    return {name: belief.evidence[:, i] for i, name in enumerate(belief.candidates)}


def same_up_to_a_constant(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> bool:
    """Whether the differences between tasks are the same, for tasks that both have; evidence is up to a constant."""
    names = [name for name in ours if name in theirs]
    apart = [torch.stack([each[name] - each[names[0]] for name in names]) for each in (ours, theirs)]
    return len(names) > 1 and torch.allclose(*apart, rtol=1e-4, atol=1e-2)


def decisions(learner: Learner, inputs: Tensor) -> list[str]:
    return learner.infer(inputs).tasks


def moments_of(learner: Learner) -> Moments:
    moments = learner.bank.moments
    assert moments is not None
    return moments


def same_statistics(one: Learner, other: Learner) -> bool:
    """Bit for bit."""
    means = [{name: each.bank[name].means for name in each.tasks} for each in (one, other)]
    digests = [{name: of.digest for name, of in each.items() if of is not None} for each in means]
    ours, theirs = moments_of(one), moments_of(other)
    return (
        digests[0] == digests[1]
        and len(digests[0]) == len(one.tasks)
        and (ours.of, ours.members, ours.examples) == (theirs.of, theirs.members, theirs.examples)
        and torch.equal(ours.scatter, theirs.scatter)
    )


def features_and_classes(learner: Learner, tasks: list[Task]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Integer features of all training examples, and numbers of their classes over all tasks."""
    of = features_of(learner.network, (8,), moments_of(learner))
    found, classes, first = [], [], 0
    for task in tasks:
        inputs, targets = task.train.batch(torch.arange(len(task.train)))
        found.append(of(inputs).double().numpy())
        classes.append(targets.numpy() + first)
        first += len(task.classes)
    return np.concatenate(found), np.concatenate(classes)


# The same as of all examples at once


@pytest.mark.parametrize("share", [0.01, 0.3, 1.0])
def test_it_is_the_discriminant_of_scikit_learn_on_all_examples(tasks: list[Task], share: float) -> None:
    """Up to what rounding the means to 16 bits costs. Ours has the priors of classes in their task, theirs in all."""
    learner = learned(tasks, replace(EXACT, shrinkage=share))
    h, y = features_and_classes(learner, tasks)
    truth = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=share).fit(h, y)
    inputs = mixed(tasks)
    seen = features_of(learner.network, (8,), moments_of(learner))(inputs).double().numpy()
    expected = truth.decision_function(seen)
    sizes = np.array([len(task.train) for task in tasks]) / len(h)
    of = np.repeat(range(4), [len(task.classes) for task in tasks])
    joint = replace(EXACT, shrinkage=share).believed(asked(learner), inputs)[1].double().numpy()
    apart = joint + np.log(sizes)[of] - expected
    apart -= apart.mean(axis=1, keepdims=True)  # up to a constant for each input
    assert np.abs(apart).max() < 0.002 * max(1.0, float(np.abs(expected - expected.mean(axis=1, keepdims=True)).max()))
    top = np.sort(expected, axis=1)
    clear = top[:, -1] - top[:, -2] > 0.1
    assert clear.sum() > 70
    assert ((joint + np.log(sizes)[of]).argmax(axis=1) == truth.predict(seen))[clear].all()


def test_the_evidence_of_a_task_sums_its_classes(learner: Learner, tasks: list[Task]) -> None:
    inputs = mixed(tasks)
    _, joint, of = RANDOM.believed(asked(learner), inputs)
    classes = joint.split(of.bincount().tolist(), dim=1)
    assert [each.shape[1] for each in classes] == [len(task.classes) for task in tasks]
    expected = torch.stack([each.double().logsumexp(dim=1) for each in classes], dim=1)
    belief = RANDOM.infer_each(asked(learner), inputs)
    torch.testing.assert_close(belief.evidence.double(), expected, rtol=1e-4, atol=1e-3)
    together = RANDOM.infer(asked(learner), inputs)
    torch.testing.assert_close(together.evidence[0].double(), expected.mean(dim=0), rtol=1e-4, atol=1e-3)


def test_one_mean_for_each_task_is_a_discriminant_of_tasks(tasks: list[Task]) -> None:
    learner = learned(tasks, replace(EXACT, per="task"))
    h, y = features_and_classes(learner, tasks)
    of = np.repeat(range(4), [len(task.classes) for task in tasks])[y]
    truth = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.05).fit(h, of)
    inputs = mixed(tasks)
    seen = features_of(learner.network, (8,), moments_of(learner))(inputs).double().numpy()
    got = np.stack([each.double().numpy() for each in evidence(learner, inputs).values()], axis=1)
    apart = got + np.log(np.bincount(of) / len(of)) - truth.decision_function(seen)
    assert np.abs(apart - apart.mean(axis=1, keepdims=True)).max() < 0.05
    means = learner.bank["b"].means
    assert means is not None
    assert len(means.counts) == 1
    _, joint, of = replace(RANDOM, per="task").believed(asked(learner), inputs)
    assert joint.shape == (len(inputs), 4)
    assert of.tolist() == [0, 1, 2, 3]


def test_strangeness_is_the_distance_of_mahalanobis_to_the_nearest_class(learner: Learner, tasks: list[Task]) -> None:
    """And the same minus the distance to the centre of all classes; both over the number of features."""
    inputs, moments = mixed(tasks)[:20], moments_of(learner)
    belief = RANDOM.infer_each(asked(learner), inputs)
    assert belief.strangeness is not None
    covariance = moments.scatter.numpy() / moments.examples
    covariance = 0.95 * covariance + 0.05 * np.trace(covariance) / 30 * np.eye(30)
    inverse = np.linalg.inv(covariance)
    h = features_of(learner.network, (8,), moments)(inputs).double().numpy()
    means = {name: learner.bank[name].means for name in learner.tasks}
    values = {name: of.values.double().numpy() for name, of in means.items() if of is not None}
    counts = np.concatenate([of.counts.numpy() for of in means.values() if of is not None])
    centre = (np.concatenate(list(values.values())) * counts[:, None]).sum(axis=0) / counts.sum()
    for row, chosen, got in zip(h, belief.tasks, belief.strangeness.tolist(), strict=True):
        nearest = min((row - mean) @ inverse @ (row - mean) for mean in values[chosen])
        whole = (row - centre) @ inverse @ (row - centre)
        assert got == pytest.approx([nearest / 30, (nearest - whole) / 30], rel=1e-3, abs=1e-3)
    assert replace(RANDOM, measured=False).infer_each(asked(learner), inputs).strangeness is None


def test_strange_inputs_are_far_away(learner: Learner, tasks: list[Task]) -> None:
    asking, inputs = asked(learner), mixed(tasks)
    noise = torch.randn(80, 8, generator=torch.Generator().manual_seed(9))
    near, far = (RANDOM.infer_each(asking, each).strangeness for each in (inputs, noise))
    assert near is not None
    assert far is not None
    assert float(near[:, 0].median()) < 2
    assert float(far[:, 0].median()) > 4 * float(near[:, 0].median())
    assert float(far[:, 1].median()) > float(near[:, 1].median())


@pytest.mark.parametrize("examples", [5, 50, 5000])
@pytest.mark.parametrize("size", [2, 10, 400])
def test_shrinkage_is_the_oracle_approximation(examples: int, size: int) -> None:
    """Equation 23 of Chen et al. (2010) by numpy; scikit-learn leaves out terms of 2/d."""
    rows = np.random.default_rng(0).standard_normal((examples, size)) * np.linspace(1, 3, size)
    covariance = rows.T @ rows / examples
    square, trace = np.trace(covariance @ covariance), np.trace(covariance)
    above = (1 - 2 / size) * square + trace**2
    below = (examples + 1 - 2 / size) * (square - trace**2 / size)
    got = shrinkage(torch.from_numpy(covariance), examples)
    assert got == pytest.approx(min(1.0, above / below))
    assert 0 <= got <= 1
    if size == 400:
        assert got == pytest.approx(oas(rows, assume_centered=True)[1], rel=0.01)


def test_equal_variances_are_shrunk_wholly() -> None:
    assert shrinkage(torch.eye(5), 100) == 1.0
    assert shrinkage(torch.zeros(5, 5), 100) == 1.0


def test_without_a_shrinkage_it_is_estimated(learner: Learner, tasks: list[Task]) -> None:
    moments, inputs = moments_of(learner), mixed(tasks)
    share = shrinkage(moments.scatter / moments.examples, moments.examples)
    assert 0 < share < 0.5
    expected, got = (
        replace(RANDOM, shrinkage=each).infer_each(asked(learner), inputs).evidence for each in (share, None)
    )
    assert torch.equal(expected, got)
    other = replace(RANDOM, shrinkage=share / 2).infer_each(asked(learner), inputs).evidence
    assert not torch.allclose(other, got, rtol=1e-3)


def test_a_covariance_without_an_inverse_is_an_error(tasks: list[Task]) -> None:
    learner = learned(tasks[:1], replace(RANDOM, features=RandomFeatures(200), shrinkage=0.0))
    with pytest.raises(ConfigError, match=r"200 features of 40 examples has no inverse with shrinkage=0.0; use a"):
        learner.infer(mixed(tasks[:1]))
    learner.inference = replace(RANDOM, features=RandomFeatures(200), shrinkage=None)
    assert learner.infer(mixed(tasks[:1])).tasks == ["a"] * 20


@pytest.mark.parametrize("size", [50, 400])
@pytest.mark.parametrize("tasks", [1, 6])
def test_rounding_moves_eigenvalues_by_so_much(size: int, tasks: int) -> None:
    random = np.random.default_rng(0)
    scatters = [random.uniform(-1000, 1000, (size, size)) for _ in range(tasks)]
    errors = sum(np.triu(np.round(each) - each) + np.triu(np.round(each) - each, 1).T for each in scatters)
    largest = np.abs(np.linalg.eigvalsh(errors)).max()
    assert largest == pytest.approx(rounding(size, tasks), rel=0.1)


def weather(site: int, count: int) -> Examples:
    """Temperature, pressure, humidity and wind at three sites, that differ in their temperature."""
    random = torch.Generator().manual_seed(10 * site + count)
    spread, level = torch.tensor([1.0, 5.0, 10.0, 3.0]), torch.tensor([5.0 + 20 * site, 1013.0, 50.0, 5.0])
    return Examples(level + spread * torch.randn(count, 4, generator=random), torch.arange(count) % 2)


@pytest.mark.parametrize("count", [100, 200])
def test_the_rounding_of_features_that_hardly_change_does_no_harm(count: int) -> None:
    """A pressure of 1013 is much of each row, so that features change by about 1, the step that they are rounded to."""
    few = Learner(nn.Linear(4, 2), seed=0, training=SHORT, inference=LinearDiscriminant(features=RandomFeatures(300)))
    for site in range(3):
        few.learn(Task(f"site-{site}", ("calm", "windy"), weather(site, count)), progress=None)
    assert float(moments_of(few).scatter.diagonal().mean()) < moments_of(few).examples
    truth = LinearDiscriminantAnalysis().fit(
        torch.cat([weather(site, count).inputs for site in range(3)]).numpy(), np.repeat(range(3), count)
    )
    inputs = torch.cat([weather(site, 150).inputs for site in range(3)])
    found = few.infer(inputs).chosen.numpy()
    assert (found == truth.predict(inputs.numpy())).mean() > 0.99


@pytest.mark.parametrize("columns", [1, 4])
def test_the_usual_features_see_how_far_apart_vectors_lie(columns: int) -> None:
    """Each row by itself, with mean 0 and variance 1, looks the same in all tasks. The nearest mean finds them all."""
    random = torch.Generator().manual_seed(0)
    net = fully_connected([columns, 16, 2])
    learner = Learner(net, seed=0, training=SHORT, inference=LinearDiscriminant())
    for n in range(5):
        examples = Examples(8.0 * n + torch.randn(50, columns, generator=random), torch.arange(50) % 2)
        learner.learn(Task(f"{n}", (0, 1), examples), progress=None)
    level = torch.arange(5).repeat_interleave(20)
    inputs = 8.0 * level[:, None] + torch.randn(100, columns, generator=random)
    nearest = (inputs.mean(dim=1) / 8).round().clamp(0, 4)
    assert float((learner.infer(inputs).chosen == nearest).float().mean()) > 0.97


def test_very_few_examples_have_an_inverse() -> None:
    """Many features are then the same, so that what rounding moves adds up."""
    many = LinearDiscriminant(features=RandomFeatures(1000))
    learner = Learner(nn.Linear(4, 2), seed=0, training=SHORT, inference=many)
    random = torch.Generator().manual_seed(3)
    level = torch.rand(4, generator=random)
    for name in "abc":
        inputs = level + 0.003 * torch.randn(3, 4, generator=random)
        learner.learn(Task(name, (0, 1), Examples(inputs, torch.arange(3) % 2)), progress=None)
    moments = moments_of(learner)
    least = np.linalg.eigvalsh(moments.scatter.numpy())[0]
    assert -least > 2 * rounding(1000, 3)
    assert np.isfinite(learner.infer(level[None]).evidence.numpy()).all()


def test_features_that_never_change_are_no_error(blobs: Blobs) -> None:
    """All inputs of the first task are equal: no scatter at all."""
    learner, task = make(replace(RANDOM, shrinkage=None)), blobs("t", 2)
    inputs, targets = torch.ones(16, 8), torch.arange(16) % 2
    learner.learn(replace(task, train=Examples(inputs, targets)), progress=None)
    assert learner.infer(torch.randn(4, 8)).tasks == ["t"] * 4


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_shrinkage_is_a_share(share: float) -> None:
    with pytest.raises(ConfigError, match="shrinkage must be between 0 and 1, or None to estimate it, got"):
        LinearDiscriminant(shrinkage=share)


# Any order, and any way to come by the tasks


def test_any_order_of_tasks_gives_the_same_decisions(tasks: list[Task]) -> None:
    inputs, first = mixed(tasks), learned(tasks)
    for order in (tasks[::-1], [tasks[2], tasks[0], tasks[3], tasks[1]]):
        other = learned(order)
        assert same_statistics(first, other)
        assert decisions(other, inputs) == decisions(first, inputs)
        expected, got = evidence(first, inputs), evidence(other, inputs)
        assert all(torch.equal(got[name], expected[name]) for name in "abcd")


def test_merged_banks_decide_as_one(tasks: list[Task], tmp_path: Path) -> None:
    inputs, first = mixed(tasks), learned(tasks)
    learned(tasks[:2]).save(tmp_path / "one")
    learned(tasks[:1:-1]).save(tmp_path / "two")
    bank = BankFolder(tmp_path / "one").open()
    bank.merge(BankFolder(tmp_path / "two").open())
    merged = make()
    merged.adopt(bank)
    assert same_statistics(first, merged)
    assert decisions(merged, inputs) == decisions(first, inputs)
    expected, got = evidence(first, inputs), evidence(merged, inputs)
    assert all(torch.equal(got[name], expected[name]) for name in "abcd")


def test_learned_together_or_on_workers_is_learned_alone(tasks: list[Task]) -> None:
    first, together, apart = learned(tasks), make(), make()
    together.learn_together(tasks, progress=None)
    apart.learn_apart(tasks, LocalProcesses(2))
    for other in (together, apart):
        assert same_statistics(first, other)
    assert decisions(apart, mixed(tasks)) == decisions(first, mixed(tasks))


def test_features_that_are_fitted_are_those_of_the_first_task(tasks: list[Task]) -> None:
    flat = LinearDiscriminant(features=Flat(), shrinkage=0.05)
    first, together = learned(tasks, flat), make(flat)
    together.learn_together(tasks, progress=None)
    assert same_statistics(first, together)
    assert moments_of(learned(tasks[:1], flat)).of == moments_of(first).of
    assert moments_of(learned(tasks[1:2], flat)).of != moments_of(first).of


def test_a_removed_task_is_no_candidate_and_comes_back_as_it_was(learner: Learner, tasks: list[Task]) -> None:
    inputs, moments = mixed(tasks), moments_of(learner)
    before = evidence(learner, inputs)
    state = learner.remove("b")
    after = evidence(learner, inputs)
    assert list(after) == ["a", "c", "d"]
    assert "b" not in decisions(learner, inputs)
    assert same_up_to_a_constant(after, before)  # what it left says how inputs scatter
    learner.add(state)
    assert moments_of(learner) is moments
    for name, values in evidence(learner, inputs).items():
        assert torch.equal(values, before[name])


def test_a_renamed_task_and_a_subset_keep_their_evidence(learner: Learner, tasks: list[Task]) -> None:
    inputs = mixed(tasks)
    before = evidence(learner, inputs)
    learner.rename("c", "new")
    assert torch.equal(evidence(learner, inputs)["new"], before["c"])
    chosen = make()
    chosen.adopt(learner.bank.subset(["a", "new"]))
    after = evidence(chosen, inputs)
    assert list(after) == ["a", "new"]
    assert same_up_to_a_constant(after, {"a": before["a"], "new": before["c"]})


def test_a_loaded_learner_decides_as_before_and_learns_on(tasks: list[Task], tmp_path: Path) -> None:
    inputs, first = mixed(tasks), learned(tasks)
    learned(tasks[:3]).save(tmp_path / "bank")
    loaded = Learner.load(tmp_path / "bank", fully_connected([8, 16, 6]))
    assert loaded.inference == RANDOM
    loaded.learn(tasks[3], progress=None)
    assert same_statistics(first, loaded)
    loaded.save(tmp_path / "bank")
    again = Learner.load(tmp_path / "bank", fully_connected([8, 16, 6]))
    assert same_statistics(first, again)
    for name, values in evidence(again, inputs).items():
        assert torch.equal(values, evidence(first, inputs)[name])


def test_two_tasks_of_the_same_examples_are_tied(blobs: Blobs) -> None:
    task = blobs("a", 3)
    learner = learned([task, replace(task, name="again")])
    belief = learner.infer(mixed([task]))
    assert belief.tasks == ["a"] * 20
    assert belief.tied.tolist() == [True] * 20
    assert moments_of(learner).examples == len(task.train)  # they count once


# Networks of all kinds


def test_most_inputs_find_their_task(learner: Learner, tasks: list[Task]) -> None:
    for task in tasks:
        found = learner.infer(task.test.batch(torch.arange(20))[0]).tasks
        assert found.count(task.name) >= 19


def test_heads_of_different_numbers_of_classes_are_recognised(tasks: list[Task]) -> None:
    net = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 1))
    learner = make(RANDOM, Network(net, RandomBase(0), head="2"))
    for task in tasks:
        learner.learn(task, progress=None)
    assert {tuple(learner.bank[name].changes["2.weight"].shape) for name in "abc"} == {(2, 16), (3, 16), (4, 16)}
    found = learner.infer(tasks[1].test.batch(torch.arange(20))[0]).tasks
    assert found.count("b") >= 19


class Text(nn.Module):
    """Token ids to classes: by an LSTM, or by attention and a classifier, as in BERT."""

    def __init__(self, recurrent: bool) -> None:
        super().__init__()
        self.words = nn.Embedding(100, 16)
        self.mix = (
            nn.LSTM(16, 16, batch_first=True)
            if recurrent
            else nn.TransformerEncoderLayer(16, 2, 16, batch_first=True, dropout=0.0)
        )
        self.classifier = nn.Linear(16, 6)

    def forward(self, ids: Tensor) -> Tensor:
        found = self.mix(self.words(ids))
        return self.classifier((found[0] if isinstance(found, tuple) else found).mean(dim=1))


def texts(number: int) -> Task:
    """Texts over words of their own, and some that all tasks have."""
    rng = torch.Generator().manual_seed(number)

    def examples(count: int) -> Examples:
        targets = torch.arange(count) % 2
        ids = 1 + torch.randint(0, 20, (count, 10), generator=rng) + 20 * number
        ids[:, :3] = 10 * targets[:, None] + torch.randint(70, 80, (count, 3), generator=rng)
        return Examples(ids, targets)

    return Task(f"text-{number}", ("good", "bad"), examples(200), examples(20))


@pytest.mark.parametrize("recurrent", [True, False], ids=["lstm", "attention"])
@pytest.mark.parametrize("features", [Tokens(1000), Usual(), Trunk()], ids=lambda each: type(each).__name__)
def test_texts_are_recognised(recurrent: bool, features: Tokens | Usual | Trunk) -> None:
    torch.manual_seed(0)
    base = PretrainedBase("someone's") if isinstance(features, Trunk) else RandomBase(0)
    network = Network(Text(recurrent), base, head="classifier", norm="frozen")
    learner = make(LinearDiscriminant(features=features), network)
    for number in range(3):
        learner.learn(texts(number), progress=None)
    used = moments_of(learner).settings["features"]["type"]
    assert used == ("Trunk" if isinstance(features, Trunk) else "Tokens")
    for number in range(3):
        found = learner.infer(texts(number).test.batch(torch.arange(20))[0]).tasks
        assert found.count(f"text-{number}") >= (12 if isinstance(features, Trunk) else 19)


def test_a_trunk_of_a_pretrained_network_recognises_tasks(tasks: list[Task]) -> None:
    torch.manual_seed(0)
    learner = make(LinearDiscriminant(), Network(fully_connected([8, 40, 6]), PretrainedBase("someone's")))
    for task in tasks:
        learner.learn(task, progress=None)
    assert moments_of(learner).settings["features"] == {"type": "Trunk", "layer": None}
    for task in tasks:
        assert learner.infer(task.test.batch(torch.arange(20))[0]).tasks.count(task.name) >= 19


# Tasks without statistics


def test_tasks_without_statistics_say_how_to_get_them(tasks: list[Task]) -> None:
    learner = Learner(fully_connected([8, 16, 6]), seed=0, training=SHORT)
    for task in tasks:
        learner.learn(task, progress=None)
    learner.inference = RANDOM
    with pytest.raises(TaskError, match=r"expected tasks with statistics .*'a'.*learner.fit_router\(tasks\)"):
        learner.infer(mixed(tasks))
    learner.fit_router(tasks)
    assert same_statistics(learner, learned(tasks))
    assert decisions(learner, mixed(tasks)) == decisions(learned(tasks), mixed(tasks))


def test_a_task_that_is_not_in_the_scatter_is_an_error(tasks: list[Task]) -> None:
    """It was counted elsewhere, and only its state was passed on."""
    learner, elsewhere = learned(tasks[:2]), learned(tasks[2:3])
    before = moments_of(learner)
    with pytest.raises(MaskError, match=r"lack task 'c', so a router would recognise no task"):
        learner.add(elsewhere.bank["c"])
    assert learner.tasks == ["a", "b"]
    learner.add(elsewhere.bank["c"], moments=elsewhere.bank.moments)
    assert same_statistics(learner, learned(tasks[:3]))
    learner.bank.count(before, {})
    with pytest.raises(TaskError, match=r"'c'.* are not in those of the bank; .*fit_router"):
        learner.infer(mixed(tasks[:3]))


def test_a_task_with_means_of_other_features_is_not_added(tasks: list[Task]) -> None:
    learner = learned(tasks[:2])
    other = learned(tasks[2:3], replace(RANDOM, features=RandomFeatures(30, seed=1)))
    for moments in (None, other.bank.moments):
        with pytest.raises(BaseMismatchError, match="features"):
            learner.add(other.bank["c"], moments=moments)
    assert learner.tasks == ["a", "b"]
    learner.add(replace(other.bank["c"], means=None))
    with pytest.raises(TaskError, match="'c'"):
        learner.infer(mixed(tasks))


def test_statistics_anew_need_all_tasks_and_an_inference_that_has_some(learner: Learner, tasks: list[Task]) -> None:
    before = moments_of(learner)
    with pytest.raises(TaskError, match=r"expected the examples of all tasks, got none of .*'d'"):
        learner.fit_router(tasks[:3])
    with pytest.raises(UnknownTaskError, match="no task 'e'"):
        learner.fit_router([*tasks, replace(tasks[0], name="e")])
    with pytest.raises(DuplicateTaskError, match=r"'a' is given twice"):
        learner.fit_router([*tasks, tasks[0]])
    with pytest.raises(TaskError, match="was learned with the classes"):
        learner.fit_router([replace(tasks[0], classes=("x", "y")), *tasks[1:]])
    assert moments_of(learner) is before
    learner.inference = OneShot()
    with pytest.raises(ConfigError, match=r"OneShot has no statistics of tasks; .*LinearDiscriminant\(\)"):
        learner.fit_router(tasks)


def test_no_task_is_an_error() -> None:
    with pytest.raises(TaskError, match="learn a task first"):
        RANDOM.infer_each(Superposition(Network(fully_connected([8, 6]), RandomBase(0)), []), torch.randn(2, 8))


def test_a_bank_without_tasks_has_no_statistics() -> None:
    network = Network(fully_connected([8, 6]), RandomBase(0))
    assert MaskBank(make(RANDOM, network).bank.header).moments is None


def test_one_task_is_always_found(tasks: list[Task]) -> None:
    belief: Belief = learned(tasks[:1]).infer(mixed(tasks))
    assert set(belief.tasks) == {"a"}
