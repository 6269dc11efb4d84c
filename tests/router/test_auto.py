"""Evidence of several sources together, chosen by held-out inputs, and saved with the bank."""

import hashlib
import json
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from default_dtype import default_dtype
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from torch import Tensor

from supermasks import BankFolder, Examples, Learner, Task
from supermasks.data import PermutedStream, SplitStream
from supermasks.datasets import load_source
from supermasks.errors import BankFormatError, ConfigError, SupermasksWarning, TaskError, UnknownTaskError
from supermasks.inference import Calibration, Exhaustive, OneShot
from supermasks.nets import fully_connected
from supermasks.router import Auto, Fused, LinearDiscriminant, RandomFeatures
from supermasks.router.fused import Evidence, fitted_weights
from supermasks.training import Adam, Training
from supermasks.types import Belief

ROUTER = LinearDiscriminant(features=RandomFeatures(300))
TRAINING = Training(steps=60, batch_size=64, optimiser=Adam(3e-3))


def learned(inference: Any = "auto", count: int = 4, stream: Any = None) -> tuple[Learner, list[Task]]:
    tasks = list(SplitStream(load_source("sample"), 2) if stream is None else stream)[:count]
    learner = Learner(fully_connected([784, 64, 12]), seed=0, inference=inference, training=TRAINING)
    for task in tasks:
        learner.learn(task, progress=None)
    return learner, tasks


def halves(tasks: list[Task]) -> tuple[dict[str, Examples], Tensor, list[str]]:
    """Return held-out examples to calibrate with, and further inputs with the names of their tasks."""
    held_out, inputs, names = dict[str, Examples](), list[Tensor](), list[str]()
    for task in tasks:
        assert task.test is not None
        half = len(task.test) // 2
        held_out[task.name] = Examples(*task.test.batch(torch.arange(half)))
        inputs.append(task.test.batch(torch.arange(half, len(task.test)))[0])
        names += [task.name] * len(inputs[-1])
    return held_out, torch.cat(inputs), names


@pytest.fixture(scope="module")
def world() -> tuple[Learner, list[Task]]:
    return learned(Auto(router=ROUTER))


def share(found: list[str], names: list[str]) -> float:
    return float(np.mean([a == b for a, b in zip(found, names, strict=True)]))


def test_natural_tasks_are_recognised_where_the_gradient_fails(world: tuple[Learner, list[Task]]) -> None:
    learner, tasks = world
    held_out, inputs, names = halves(tasks)
    calibration = learner.calibrate(held_out, level=0.02)
    assert share(learner.predict(inputs).tasks, names) > 0.9
    assert calibration.compared["LinearDiscriminant"] > 0.9 > calibration.compared["OneShot by Entropy"]
    assert isinstance(calibration.inference, (LinearDiscriminant, Fused))
    assert f"{calibration.recognised:.0%}" in repr(calibration)


def test_a_mixed_batch_is_judged_input_by_input(world: tuple[Learner, list[Task]]) -> None:
    learner, tasks = world
    held_out, inputs, _ = halves(tasks)
    learner.calibrate(held_out, level=0.02)
    order = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(0))
    straight, mixed = learner.predict(inputs), learner.predict(inputs[order])
    assert [straight.tasks[i] for i in order] == mixed.tasks
    assert [straight.labels[i] for i in order] == mixed.labels


def test_confidence_and_strangeness_say_which_answers_are_wrong(world: tuple[Learner, list[Task]]) -> None:
    learner, tasks = world
    held_out, inputs, names = halves(tasks)
    learner.calibrate(held_out, level=0.05)
    known = learner.predict(inputs)
    assert known.task_confidence is not None
    assert known.typicality is not None
    assert known.unknown is not None
    right = [a == b for a, b in zip(known.tasks, names, strict=True)]
    assert roc_auc_score(right, known.task_confidence) > 0.85
    assert float(known.unknown.float().mean()) < 0.09
    noise = torch.randn(100, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    assert learner.predict(noise).unknown.float().mean() > 0.95


def test_the_router_of_a_fresh_learner_needs_no_calibration(world: tuple[Learner, list[Task]]) -> None:
    learner, tasks = world
    learner.calibration = None
    _, inputs, names = halves(tasks)
    assert share(learner.infer(inputs).tasks, names) > 0.9


def test_the_scores_are_the_weighted_sum_of_the_sources(world: tuple[Learner, list[Task]]) -> None:
    learner, tasks = world
    _, inputs, _ = halves(tasks)
    inputs = inputs[::40]
    fused = Fused(router=ROUTER, weights=(0.3, 2.0, 0.0), listed=2)
    mixed = learner._mixed(None).superposition
    belief = fused.infer_each(mixed, inputs)
    first, joint, of = ROUTER.believed(mixed, inputs)
    for n in range(len(inputs)):
        listed = first.evidence[n].topk(2).indices.tolist()
        best, scores = None, {}
        for i in listed:
            logits = learner.network.logits(inputs[n : n + 1], learner.bank[learner.tasks[i]])[0]
            probable = joint[n][of == i] - first.evidence[n].max()
            scores[i] = 0.3 * probable + 2.0 * logits.log_softmax(0)[:2]
        best = max(scores, key=lambda i: float(scores[i].logsumexp(0)))
        assert int(belief.chosen[n]) == best
        assert belief.classes is not None
        torch.testing.assert_close(belief.classes[n], scores[best], rtol=1e-4, atol=1e-4)
        assert torch.isinf(belief.evidence[n]).sum() == len(tasks) - 2


@pytest.mark.parametrize(
    ("per", "weights"),
    [("task", (1.0, 0.0, 0.0)), ("task", (0.5, 0.0, 1.0)), ("class", (0.0, 0.0, 1.0))],
)
def test_sources_that_tell_no_classes_apart_leave_them_to_the_mask(per: Any, weights: tuple[float, ...]) -> None:
    """And tasks of more classes are no more likely."""
    router = replace(ROUTER, per=per)
    fused = Fused(router=router, gradient=OneShot(centred=True), weights=weights, listed=3)
    stream = list(SplitStream(load_source("sample"), 2))[:3]
    stream[1] = replace(stream[1], classes=(*stream[1].classes, "more", "and more"))
    learner, tasks = learned(fused, stream=stream)
    inputs = halves(tasks)[1][::5]
    belief = fused.infer_each(learner._mixed(None).superposition, inputs)
    expected = torch.zeros(len(inputs), 3)
    if weights[0]:
        expected += weights[0] * router.infer_each(learner._mixed(None).superposition, inputs).evidence
    if weights[2]:
        gradient = OneShot(centred=True).infer_each(learner._mixed(None).superposition, inputs).evidence
        expected += weights[2] * gradient / gradient.std(dim=1, keepdim=True, correction=0)
    apart = belief.evidence - expected
    torch.testing.assert_close(apart, apart[:, :1].expand(-1, 3), rtol=1e-3, atol=1e-3)
    got = learner.predict(inputs)
    for name in set(got.tasks):
        rows = torch.tensor([task == name for task in got.tasks])
        given = learner.predict(inputs[rows], task=name)
        assert [got.labels[row] for row in rows.nonzero().flatten()] == given.labels
        torch.testing.assert_close(got.confidence[rows], given.confidence)
    assert len(set(got.labels)) > 3


def test_the_fitted_weights_have_the_largest_likelihood() -> None:
    random = torch.Generator().manual_seed(0)
    terms = torch.randn(3, 400, 4, 2, generator=random)
    terms[2] = 0  # a source that says nothing
    cells = torch.distributions.Categorical(logits=(1.5 * terms[0] + 0.5 * terms[1]).flatten(1)).sample()
    lists = torch.arange(4).expand(400, 4)
    belief = Belief(("a",), torch.zeros(0), torch.zeros(0), torch.zeros(0), torch.zeros(0))
    found = Evidence(belief, lists, terms, torch.ones(400, 4, 2, dtype=torch.bool))
    weights = fitted_weights(found, cells // 2, cells % 2)

    def loss(first: float, second: float) -> float:
        logits = (first * terms[0] + second * terms[1]).flatten(1)
        return float(torch.nn.functional.cross_entropy(logits, cells))

    around = [loss(weights[0] * a, weights[1] * b) for a in (0.9, 1, 1.1) for b in (0.8, 1, 1.2)]
    assert min(around) == around[4]
    assert weights[2] == 0
    assert abs(weights[0] - 1.5) < 0.3


def test_two_sources_and_two_tasks_are_a_logistic_regression() -> None:
    random = torch.Generator().manual_seed(1)
    terms = torch.zeros(3, 600, 2, 1)
    terms[:2, :, 0, 0] = torch.randn(2, 600, generator=random)
    right = (torch.rand(600, generator=random) > (terms[0, :, 0, 0] + 0.4 * terms[1, :, 0, 0]).sigmoid()).long()
    belief = Belief(("a",), torch.zeros(0), torch.zeros(0), torch.zeros(0), torch.zeros(0))
    found = Evidence(belief, torch.tensor([0, 1]).expand(600, 2), terms, torch.ones(600, 2, 1, dtype=torch.bool))
    weights = fitted_weights(found, right, torch.zeros(600, dtype=torch.int64))
    theirs = LogisticRegression(C=1e6, fit_intercept=False).fit(terms[:2, :, 0, 0].mT.numpy(), 1 - right.numpy())
    np.testing.assert_allclose(weights[:2], theirs.coef_[0], rtol=0.02)


def test_a_calibration_is_saved_with_the_bank(tmp_path: Path) -> None:
    learner, tasks = learned(Auto(router=ROUTER), 3)
    held_out, inputs, _ = halves(tasks)
    learner.calibrate(held_out, level=0.03)
    learner.rename("split-0-1", "first")
    learner.save(tmp_path)
    loaded = Learner.load(tmp_path, fully_connected([784, 64, 12]))
    ours, theirs = learner.predict(inputs), loaded.predict(inputs)
    assert ours.labels == theirs.labels
    assert ours.tasks == theirs.tasks
    assert ours.task_confidence is not None
    assert theirs.task_confidence is not None
    assert torch.equal(ours.task_confidence, theirs.task_confidence)
    assert torch.equal(ours.typicality, theirs.typicality)
    assert loaded.calibration is not None
    assert loaded.calibration.candidates == ("first", "split-2-3", "split-4-5")
    assert repr(loaded.calibration) == repr(learner.calibration)
    part = Learner.load(tmp_path, fully_connected([784, 64, 12]), tasks=["first", "split-2-3"])
    assert part.calibration is None  # it was of other tasks
    other = Learner.load(tmp_path, fully_connected([784, 64, 12]), inference=OneShot())
    assert other.calibration is None  # it was of another inference


def test_a_stale_calibration_is_not_saved(tmp_path: Path) -> None:
    learner, tasks = learned(Auto(router=ROUTER), 3)
    learner.calibrate(halves(tasks)[0], level=0.03)
    learner.remove("split-4-5")
    learner.save(tmp_path)
    assert Learner.load(tmp_path, fully_connected([784, 64, 12])).calibration is None


@pytest.fixture(scope="module")
def calibrated() -> tuple[Learner, Tensor]:
    """Return a calibrated learner of three tasks, and inputs of its tasks."""
    learner, tasks = learned(Auto(router=ROUTER), 3)
    held_out, inputs, _ = halves(tasks)
    learner.calibrate(held_out, level=0.05)
    return learner, inputs


def load(folder: Path) -> Learner:
    return Learner.load(folder, fully_connected([784, 64, 12]))


def served(folder: Path) -> Calibration | None:
    """Return the calibration that a server of this bank has."""
    snapshot = pytest.importorskip("supermasks.serving.snapshot")
    network = Learner(fully_connected([784, 64, 12]), seed=0).network
    return snapshot.SnapshotMaker(BankFolder(folder), network, None, 1 << 20).make(None).predictor.calibration


def with_another(folder: BankFolder, name: str) -> Learner:
    """Return the learner of a bank, with another task of this name, which is of other digits."""
    learner, task = load(folder.path), list(SplitStream(load_source("sample"), 2))[3]
    if name in learner.tasks:
        learner.remove(name)
    learner.learn(replace(task, name=name), progress=None)
    return learner


def learn_anew(folder: BankFolder) -> None:
    other = with_another(folder, "split-4-5")
    folder.remove("split-4-5")
    folder.append(other.bank["split-4-5"], moments=other.bank.moments)


def replace_state(folder: BankFolder) -> None:
    other = with_another(folder, "split-4-5")
    folder.replace(other.bank["split-4-5"], moments=other.bank.moments)


def add_scatter(folder: BankFolder) -> None:
    """All tasks stay, bit for bit; but what was counted of another one stays in the moments."""
    other = with_another(folder, "new")
    folder.append(other.bank["new"], moments=other.bank.moments)
    folder.remove("new")


@pytest.mark.parametrize("change", [learn_anew, replace_state, add_scatter])
def test_a_stored_calibration_is_not_of_other_tasks_of_the_same_names(
    change: Callable[[BankFolder], None],
    calibrated: tuple[Learner, Tensor],
    tmp_path: Path,
) -> None:
    learner, _ = calibrated
    learner.save(tmp_path)
    assert load(tmp_path).calibration is not None
    assert served(tmp_path) is not None
    change(BankFolder(tmp_path))
    loaded = load(tmp_path)
    assert loaded.tasks == learner.tasks
    assert loaded.calibration is None
    assert served(tmp_path) is None


def keep_names(folder: BankFolder) -> list[str]:
    folder.convert("shared")
    folder.compact()
    return ["split-0-1", "split-2-3", "split-4-5"]


def rename(folder: BankFolder) -> list[str]:
    folder.rename("split-2-3", "new")
    return ["split-0-1", "new", "split-4-5"]


def rename_shared(folder: BankFolder) -> list[str]:
    folder.convert("shared")
    folder.rename("split-4-5", "split-2-3-4-5")
    return ["split-0-1", "split-2-3", "split-2-3-4-5"]


@pytest.mark.parametrize("change", [keep_names, rename, rename_shared])
def test_a_stored_calibration_stays_with_its_tasks(
    change: Callable[[BankFolder], list[str]], calibrated: tuple[Learner, Tensor], tmp_path: Path
) -> None:
    learner, inputs = calibrated
    learner.save(tmp_path)
    names = change(BankFolder(tmp_path))
    loaded = load(tmp_path)
    ours, theirs = learner.predict(inputs), loaded.predict(inputs)
    assert loaded.calibration is not None
    assert loaded.calibration.candidates == tuple(loaded.tasks) == tuple(names)
    assert theirs.tasks == [names[learner.tasks.index(name)] for name in ours.tasks]
    assert ours.unknown is not None
    assert theirs.unknown is not None
    assert torch.equal(ours.unknown, theirs.unknown)
    assert served(tmp_path) is not None
    loaded.save(tmp_path)
    loaded.save_pretrained(tmp_path / "shared")
    assert load(tmp_path).calibration is not None
    assert load(tmp_path / "shared").calibration is not None


def test_a_calibration_names_the_bytes_of_its_tasks_and_moments(
    calibrated: tuple[Learner, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("supermasks.bank.folder.BATCH", 2)  # the last task comes in a transaction of its own
    calibrated[0].save(tmp_path)
    database = sqlite3.connect(tmp_path / "bank.sqlite")
    contents = [content for (content,) in database.execute("SELECT content FROM contents ORDER BY id")]
    items = dict(database.execute("SELECT name, content FROM items").fetchall())
    database.close()
    digests = [hashlib.sha256(content).hexdigest() for content in (*contents, items["moments"])]
    text = json.dumps([digests[:3], digests[3]])
    assert len(contents) == 3
    stored = json.loads(items["header"])["settings"]["calibration"]
    assert stored["of"] == hashlib.sha256(text.encode()).hexdigest()
    assert load(tmp_path).calibration is not None


def test_a_calibration_of_an_earlier_version_is_told_by_the_names_of_its_tasks(
    calibrated: tuple[Learner, Tensor], tmp_path: Path
) -> None:
    learner, _ = calibrated
    learner.save(tmp_path / "now")
    bank = BankFolder(tmp_path / "now").open()
    stored = {**bank.header.settings["calibration"]}
    del stored["of"]
    bank.header = replace(bank.header, settings={**bank.header.settings, "calibration": stored})
    folder = BankFolder(tmp_path / "before")
    folder.save(bank)
    assert load(folder.path).calibration is not None
    learn_anew(folder)
    assert load(folder.path).calibration is not None  # it cannot be told
    folder.remove("split-0-1")
    assert load(folder.path).calibration is None


@pytest.mark.parametrize("broken", [{}, {"leads": [[2.0, 1.0]]}, {"temperature": "hot"}, {"rarest": []}, {"leads": 3}])
def test_a_broken_calibration_is_refused(world: tuple[Learner, list[Task]], broken: dict[str, Any]) -> None:
    learner, tasks = world
    described = learner.calibrate(halves(tasks)[0], level=0.03).described()
    with pytest.raises(BankFormatError, match="stored calibration"):
        learner.recalibrate({**described, **broken} if broken else {})
    assert Calibration.built(described).candidates == tuple(learner.tasks)


def test_a_learner_that_cannot_tell_its_tasks_apart_says_so() -> None:
    learner, tasks = learned(OneShot(), 5)
    held_out = halves(tasks)[0]
    with pytest.warns(SupermasksWarning, match=r"recognised on held-out data: \d+% .*chance: 20%"):
        wrong = learner.calibrate(
            {name: Examples(torch.zeros_like(e.inputs) + 1e-3 * e.inputs, e.targets) for name, e in held_out.items()}
        )
    assert wrong.recognised < 0.5


def test_tasks_that_were_learned_without_statistics_get_them_later() -> None:
    learner, tasks = learned(OneShot())
    _, inputs, _ = halves(tasks)
    before = learner.network.logits(inputs, learner.bank["split-0-1"])
    learner.inference = Auto(router=ROUTER)
    with pytest.raises(TaskError, match="fit_router"):
        learner.predict(inputs)
    learner.fit_router(tasks)
    at_once, _ = learned(Auto(router=ROUTER))
    assert torch.equal(learner.infer(inputs).evidence, at_once.infer(inputs).evidence)
    assert torch.equal(before, learner.network.logits(inputs, learner.bank["split-0-1"]))


def test_statistics_of_other_features_are_refused(world: tuple[Learner, list[Task]]) -> None:
    learner, tasks = world
    _, inputs, _ = halves(tasks)
    mixed = learner._mixed(None).superposition
    with pytest.raises(ConfigError, match=r"expected statistics of RandomFeatures\(count=9.*fit_router"):
        LinearDiscriminant(features=RandomFeatures(9)).infer_each(mixed, inputs[:2])
    with pytest.raises(ConfigError, match="one mean for each task"):
        LinearDiscriminant(features=RandomFeatures(300), per="task").infer_each(mixed, inputs[:2])
    usual = LinearDiscriminant().infer_each(mixed, inputs[:2])  # whatever was counted
    assert torch.equal(usual.evidence, ROUTER.infer_each(mixed, inputs[:2]).evidence)


def test_what_fit_router_refuses() -> None:
    learner, tasks = learned(OneShot(), 2)
    with pytest.raises(ConfigError, match="has no statistics"):
        learner.fit_router(tasks)
    learner.inference = "auto"
    with pytest.raises(TaskError, match="'split-2-3'"):
        learner.fit_router(tasks[:1])
    with pytest.raises(TaskError, match="classes"):
        learner.fit_router([Task("split-0-1", ("a", "b"), tasks[0].train)])
    with pytest.raises(UnknownTaskError):
        learner.fit_router([Task("new", ("a", "b"), tasks[0].train)])
    assert learner.bank.moments is None


def test_auto_by_its_name_and_what_is_no_inference() -> None:
    learner = Learner(fully_connected([4, 8, 3]), inference="auto")
    assert learner.inference == Auto()
    with pytest.raises(ConfigError, match="inference"):
        learner.inference = "best"  # pyright: ignore[reportAttributeAccessIssue]


def test_the_masks_are_asked_where_features_say_nothing() -> None:
    """One random feature knows nothing; the masks of permuted digits do."""
    blind = LinearDiscriminant(features=RandomFeatures(1))
    stream = PermutedStream(load_source("sample"), tasks=4, seed=0)
    tasks = list(stream)
    learner = Learner(
        fully_connected([784, 64, 40]), seed=0, inference=Auto(router=blind, others=(Exhaustive(),)), training=TRAINING
    )
    for task in tasks:
        learner.learn(task, progress=None)
    held_out, inputs, names = halves(tasks)
    calibration = learner.calibrate(held_out)
    assert calibration.compared["LinearDiscriminant"] < 0.5 < calibration.recognised
    assert share(learner.predict(inputs).tasks, names) > calibration.compared["LinearDiscriminant"] + 0.2


def test_weights_that_make_no_sense_are_refused() -> None:
    for weights in ((1.0, 1.0), (1.0, -1.0, 0.0), (1.0, float("inf"), 0.0)):
        with pytest.raises(ConfigError, match="weights of 0 or more"):
            Fused(weights=weights)
    with pytest.raises(ConfigError, match="at least 2"):
        Fused(listed=1)


def test_a_stale_calibration_is_an_error_however_the_learner_is_asked() -> None:
    learner, tasks = learned(Auto(router=ROUTER), 3)
    held_out, inputs, _ = halves(tasks)
    learner.calibrate(held_out, level=0.03)
    learner.remove("split-4-5")
    asked = [
        lambda: learner.predict(inputs),
        lambda: learner.predict(inputs, together=True),
        lambda: learner.predict(inputs, among=learner.tasks),
        lambda: learner.infer(inputs),
    ]
    for ask in asked:
        with pytest.raises(ConfigError, match="since the calibration"):
            ask()
    learner.predict(inputs, task="split-0-1")  # no task has to be found
    learner.calibration = None
    assert len(learner.infer(inputs).tasks) == len(inputs)


@pytest.mark.filterwarnings("ignore:recognised on held-out data")
def test_one_held_out_input_compares_nothing() -> None:
    learner, tasks = learned(Auto(router=ROUTER), 2)
    one = Examples(*tasks[0].train.batch(torch.arange(1)))
    calibration = learner.calibrate({tasks[0].name: one}, level=0.5)
    assert isinstance(calibration.inference, LinearDiscriminant)
    assert set(calibration.skipped.values()) == {"one held-out input is too few to compare"}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_a_calibration_by_many_inputs_is_stored_whatever_the_default_type(dtype: torch.dtype) -> None:
    count = 12_345
    evidence = torch.rand(count, 2, generator=torch.Generator().manual_seed(0))
    chosen = evidence.argmax(dim=1)
    belief = Belief(("a", "b"), evidence.softmax(dim=1), evidence, chosen, torch.zeros(count, dtype=torch.bool))
    fitted = Calibration.fit(belief, ["a"] * count, 0.01, True)
    with default_dtype(dtype):
        described = fitted.described()
    assert len(described["rarest"]) == 10_000
    assert described["rarest"][-1] == float(fitted.rarest[-1])


def with_a_class_without_examples(tasks: list[Task]) -> list[Task]:
    return [replace(task, classes=(*task.classes, f"not in {task.name}")) for task in tasks]


def test_a_class_without_training_examples_is_as_if_it_were_not_there() -> None:
    tasks = list(SplitStream(load_source("sample"), 2))[:3]
    learner, plain = (
        learned(Auto(router=ROUTER), stream=with_a_class_without_examples(tasks))[0],
        learned(Auto(router=ROUTER), stream=tasks)[0],
    )
    held_out, inputs, _ = halves(tasks)
    ours, theirs = learner.calibrate(held_out, level=0.05), plain.calibrate(held_out, level=0.05)
    assert ours.compared == theirs.compared
    assert ours.recognised == theirs.recognised
    for weights in ((0.3, 2.0, 0.0), (0.0, 1.0, 0.5), (1.0, 0.0, 0.0)):
        fused = Fused(router=ROUTER, gradient=OneShot(centred=True), weights=weights, listed=2)
        with torch.no_grad():
            found, expected = (
                fused.infer_each(each._mixed(None).superposition, inputs[::20]) for each in (learner, plain)
            )
        assert torch.equal(found.chosen, expected.chosen)
        torch.testing.assert_close(found.evidence, expected.evidence, rtol=1e-4, atol=1e-3)
        assert found.classes is not None
        assert expected.classes is not None
        torch.testing.assert_close(found.classes[:, :2], expected.classes, rtol=1e-4, atol=1e-3)
        assert bool(found.classes[:, 2].isneginf().all())
    targets, classes = torch.arange(len(inputs)) % 3, torch.arange(len(inputs)) // 3 % 2
    with torch.no_grad():
        found, expected = (
            Fused(router=ROUTER).evidence(each._mixed(None).superposition, inputs) for each in (learner, plain)
        )
    weights = fitted_weights(expected, targets, classes)
    assert fitted_weights(found, targets, classes) == pytest.approx(weights, rel=1e-3)
    assert torch.equal(found.labels(targets), expected.labels(targets))
    # Held-out inputs of such a class do not count.
    more = Evidence.joined([found, found.of(torch.arange(5))])
    extra = (torch.cat([targets, targets[:5]]), torch.cat([classes, torch.full((5,), 2)]))
    assert fitted_weights(more, *extra) == pytest.approx(weights, rel=1e-3)


def test_no_batch_of_a_calibration_is_larger_than_its_chunk(
    world: tuple[Learner, list[Task]], monkeypatch: pytest.MonkeyPatch
) -> None:
    learner, tasks = world
    held_out, _, _ = halves(tasks)
    sizes = list[int]()
    for kind, name in ((LinearDiscriminant, "believed"), (OneShot, "infer_each"), (Exhaustive, "infer_each")):
        whole = getattr(kind, name)

        def counted(self: Any, superposition: Any, inputs: Tensor, whole: Any = whole) -> Any:
            sizes.append(len(inputs))
            return whole(self, superposition, inputs)

        monkeypatch.setattr(kind, name, counted)
    whole = learner.calibrate(held_out, level=0.05)
    assert max(sizes) == sum(map(len, held_out.values()))
    sizes.clear()
    parts = learner.calibrate(held_out, level=0.05, chunk=7)
    assert max(sizes) == 7
    assert set(parts.compared) == set(whole.compared)
    assert parts.compared == pytest.approx(whole.compared, abs=0.01)
    assert type(parts.inference) is type(whole.inference)
    assert parts.recognised == pytest.approx(whole.recognised, abs=0.005)
    torch.testing.assert_close(parts.leads, whole.leads, rtol=1e-3, atol=1e-3)
    if isinstance(parts.inference, Fused) and isinstance(whole.inference, Fused):
        assert parts.inference.weights == pytest.approx(whole.inference.weights, rel=1e-2)
