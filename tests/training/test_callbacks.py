"""Who follows a training sees each step once, and may end it; patience ends it by itself."""

from collections.abc import Callable
from dataclasses import FrozenInstanceError, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from states import begun
from torch import Tensor, nn

from supermasks import Examples, Learner, Network, Task
from supermasks.bases import RandomBase
from supermasks.errors import ConfigError
from supermasks.masks import TopK
from supermasks.methods import ExSSNeT, SupSup
from supermasks.nets import fully_connected
from supermasks.training import SGD, Adam, Listeners, RMSprop, Step, Training, fit, fit_together
from supermasks.training.order import Order
from supermasks.training.schedule import rate_factor

Make = Callable[..., Learner]
MakeTask = Callable[..., Task]


@pytest.fixture
def noisy(blobs: MakeTask) -> Task:
    """A task whose accuracy on validation examples goes up and down."""
    task = blobs("t", 3, count=40)
    assert task.test is not None
    rng = torch.Generator().manual_seed(1)
    inputs = task.test.inputs + 2.5 * torch.randn(task.test.inputs.shape, generator=rng)
    return replace(task, validation=Examples(inputs[:12], task.test.targets[:12]))


class Noting:
    """A callback that keeps all steps, and ends the training after one of them."""

    def __init__(self, last: int | None = None) -> None:
        self.steps: list[Step] = []
        self.last = last

    def __call__(self, step: Step) -> Any:
        self.steps.append(step)
        return "stop" if step.step == self.last else None

    @property
    def numbers(self) -> list[int]:
        return [step.step for step in self.steps]


def test_a_callback_sees_what_each_step_was(small: Make, noisy: Task) -> None:
    training = Training(19, 16, Adam(0.03), "cosine", warmup=0.2, select_best=True)
    learner, noting = small(training=training), Noting()
    report = learner.learn(noisy, callbacks=[noting])
    assert noting.numbers == list(range(1, 20))
    assert {(step.task, step.steps) for step in noting.steps} == {("t", 19)}
    assert [step.epoch for step in noting.steps] == [16 * n // 40 for n in range(1, 20)]
    for step in noting.steps:
        assert step.learning_rate == pytest.approx(0.03 * rate_factor("cosine", 0.2, step.step, 19))
    measured = {step.step: step.validation for step in noting.steps if step.validation is not None}
    assert list(measured) == [3, 5, 8, 10, 13, 15, 18, 19]
    assert tuple(measured.values()) == report.validation
    assert report.loss == pytest.approx(sum(step.loss for step in noting.steps) / 19, rel=1e-5)
    assert report.ended == "all steps"
    with pytest.raises(FrozenInstanceError):
        noting.steps[0].step = 3  # pyright: ignore
    assert "tensor" not in repr(noting.steps[0])


def reading(step: Step) -> None:
    assert step.loss >= 0


def test_the_loss_is_that_of_the_step(small: Make, blobs: MakeTask) -> None:
    """By hand, of the first batch, with the scores that the training begins with."""
    task, learner, noting = blobs("t"), small(), Noting(1)
    weights = learner.method.begin(learner._lesson(task)).effective()
    logits = learner.network.forward(task.train.inputs, weights).detach()
    learner.learn(task, callbacks=[noting])
    rows = Order.of("t", 60, 16, 0).next()
    expected = nn.functional.cross_entropy(logits[rows], task.train.targets[rows])
    assert noting.steps[0].loss == pytest.approx(float(expected), rel=1e-5)


def test_an_unread_loss_is_not_fetched(small: Make, blobs: MakeTask, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched: list[str] = []
    plain = Tensor.__float__
    monkeypatch.setattr(Tensor, "__float__", lambda value: fetched.append("loss") or plain(value))
    learner = small()
    learner.learn(blobs("a"), callbacks=[lambda step: None])
    before = len(fetched)
    learner.learn(blobs("b"), callbacks=[reading])
    assert len(fetched) == before + before + 20


def test_following_a_training_changes_nothing_of_it(small: Make, noisy: Task) -> None:
    training = Training(19, 16, RMSprop(0.03), select_best=True)
    followed, plain = small(training=training), small(training=training)
    followed.learn(noisy, callbacks=[Noting(), reading])
    plain.learn(noisy)
    assert followed.bank["t"].mask == plain.bank["t"].mask


@pytest.mark.parametrize("last", [1, 7, 20])
def test_stop_ends_the_training_there(small: Make, blobs: MakeTask, last: int) -> None:
    """What is kept is what a training of so many steps has learned."""
    ended, short, noting, told = small(), small(steps=last), Noting(last), []
    report = ended.learn(blobs("t"), lambda done, total: told.append((done, total)), callbacks=[noting])
    exact = short.learn(blobs("t"))
    assert (report.steps, report.ended) == (last, "callback")
    assert noting.numbers == [done for done, _ in told] == list(range(1, last + 1))
    assert {total for _, total in told} == {20}
    assert report.loss == pytest.approx(exact.loss)
    assert ended.bank["t"].mask == short.bank["t"].mask


def test_an_ended_training_keeps_the_best(small: Make, noisy: Task) -> None:
    training = Training(19, 16, RMSprop(0.03), select_best=True)
    learner = small(training=training)
    report = learner.learn(noisy, callbacks=[Noting(9)])
    assert len(report.validation) == 4  # after the steps 3, 5, 8 and 9
    assert noisy.validation is not None
    assert learner.accuracy(noisy.validation, "t") == pytest.approx(max(report.validation))


@pytest.mark.parametrize("answer", [True, False, "Stop", 0, torch.tensor(1.0), ["stop"]])
def test_another_answer_is_an_error_and_the_bank_stays(small: Make, blobs: MakeTask, answer: Any) -> None:
    learner = small()
    learner.learn(blobs("a"))
    with pytest.raises(ConfigError, match='a callback must return "stop" to end the training, or None'):
        learner.learn(blobs("b"), callbacks=[lambda step: answer])
    assert learner.tasks == ["a"]


def test_an_error_in_a_callback_leaves_the_bank_as_it_was(small: Make, blobs: MakeTask, tmp_path: Path) -> None:
    learner, plain, file = small(), small(), tmp_path / "fit.pt"

    def broken(step: Step) -> None:
        if step.step == 5:
            raise RuntimeError("mine")

    for one in (
        lambda **more: learner.learn(blobs("a"), **more),
        lambda **more: learner.learn_together([blobs("a")], **more),
    ):
        with pytest.raises(RuntimeError, match="mine"):
            one(callbacks=[broken])
        assert learner.tasks == []
    with pytest.raises(RuntimeError, match="mine"):
        learner.learn(blobs("a"), checkpoint=file, callbacks=[broken])
    learner.learn(blobs("a"), checkpoint=file)
    plain.learn(blobs("a"))
    assert learner.bank["a"].mask == plain.bank["a"].mask
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("callbacks", [print, [print, 3], "stop", None, {1: print}])
def test_callbacks_are_a_list_of_functions(small: Make, blobs: MakeTask, callbacks: Any) -> None:
    learner = small()
    for call in (
        lambda: learner.learn(blobs("a"), callbacks=callbacks),
        lambda: learner.learn_together([blobs("a")], callbacks=callbacks),
    ):
        with pytest.raises(ConfigError, match="callbacks must be a list of functions of a Step, got"):
            call()


def test_each_step_is_seen_once_also_after_a_resume(small: Make, noisy: Task, tmp_path: Path) -> None:
    training, file = Training(19, 16, Adam(0.03), clip_norm=0.2, patience=30), tmp_path / "fit.pt"
    whole, resumed, noting = small(training=training), small(training=training), Noting()
    whole.learn(noisy)

    def interrupted(step: Step) -> None:
        noting(step)
        if step.step in (4, 9, 18):
            raise KeyboardInterrupt

    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            resumed.learn(noisy, checkpoint=file, callbacks=[interrupted])
    resumed.learn(noisy, checkpoint=file, callbacks=[interrupted])
    assert noting.numbers == list(range(1, 20))
    assert resumed.bank["t"].mask == whole.bank["t"].mask


# Stages


def test_steps_are_counted_over_all_stages_and_stop_ends_all(small: Make, blobs: MakeTask) -> None:
    def learner() -> Learner:
        return small(fully_connected([8, 16, 6]), method=ExSSNeT(TopK(0.3)), training=Training(20, 16, Adam(1e-2)))

    noting, whole = Noting(), learner()
    whole.learn(blobs("t"), callbacks=[noting])
    assert noting.numbers == list(range(1, 21))
    assert {step.steps for step in noting.steps} == {20}
    assert [step.epoch for step in noting.steps] == sorted(step.epoch for step in noting.steps)
    for last, owns in ((4, False), (10, False), (14, True)):  # within the stage of the mask, at its end, behind it
        ended = learner()
        report = ended.learn(blobs("t"), callbacks=[Noting(last)])
        assert (report.steps, report.ended) == (last, "callback")
        assert (ended.bank["t"].owned is not None) == owns
        assert ended.predict(blobs("t").train.inputs, task="t").labels


def test_a_stage_that_was_ended_stays_ended_after_a_resume(small: Make, blobs: MakeTask, tmp_path: Path) -> None:
    file = tmp_path / "fit.pt"
    settings = {"method": ExSSNeT(TopK(0.3)), "training": Training(20, 16, Adam(1e-2))}
    whole, resumed, noting = small(**settings), small(**settings), Noting(4)
    whole.learn(blobs("t"), callbacks=[Noting(4)])

    def interrupt(step: Step) -> Any:
        if step.step == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        resumed.learn(blobs("t"), checkpoint=file, callbacks=[noting, interrupt])
    assert noting.numbers == [1, 2, 3, 4]
    resumed.learn(blobs("t"), checkpoint=file, callbacks=[Noting(5)])
    assert resumed.bank["t"].owned is None
    assert list(tmp_path.iterdir()) == []


# Together


def test_a_task_that_was_ended_is_as_if_trained_alone(small: Make, blobs: MakeTask) -> None:
    tasks, steps = [blobs(name) for name in "abc"], {"a": 5, "b": 20, "c": 12}
    seen: dict[str, list[int]] = {"a": [], "b": [], "c": []}

    def callback(step: Step) -> Any:
        seen[step.task].append(step.step)
        return "stop" if step.step == steps[step.task] else None

    training = Training(20, 16, SGD(0.1, weight_decay=0.01))
    joint = small(training=training)
    reports = joint.learn_together(tasks, callbacks=[callback])
    assert seen == {name: list(range(1, last + 1)) for name, last in steps.items()}
    for task, report in zip(tasks, reports, strict=True):
        alone = small(training=training)
        one = alone.learn(task, callbacks=[Noting(steps[task.name])])
        assert joint.bank[task.name].mask == alone.bank[task.name].mask
        assert report.steps == one.steps == steps[task.name]
        assert report.ended == "callback"
        if task.name == "a":
            assert report.loss == pytest.approx(one.loss, abs=1e-5)


def test_all_tasks_that_have_ended_end_the_training(small: Make, blobs: MakeTask) -> None:
    told: list[int] = []
    small().learn_together([blobs("a"), blobs("b")], lambda done, total: told.append(done), callbacks=[Noting(3)])
    assert told == [1, 2, 3]


def test_what_becomes_of_a_task_after_its_end_does_not_matter(blobs: MakeTask) -> None:
    """Its further batches are not even numbers."""
    network, method, broken = Network(fully_connected([8, 16, 6]), RandomBase(0)), SupSup(), list[str]()

    def callback(step: Step) -> Any:
        if step.task == "a" and step.step == 3:
            broken.append("from now on")
            return "stop"
        return None

    plain = blobs("a")
    torn = Examples(plain.train.inputs, plain.train.targets, lambda x: x * float("nan") if broken else x)
    tasks = [replace(plain, train=torn, test=None), blobs("b")]
    training = Training(20, 16, SGD(0.1), clip_norm=1.0)
    joint, alone = ([begun(method, network, task, 0) for task in tasks] for _ in range(2))
    reports = fit_together(joint, training, Listeners(callbacks=[callback]))
    broken.clear()
    assert [report.steps for report in reports] == [3, 20]
    for ours, theirs, steps in zip(joint, alone, (3, 20), strict=True):
        fit(theirs, replace(training, steps=steps))
        for name, value in theirs.parameters.items():
            torch.testing.assert_close(ours.parameters[name], value, rtol=0, atol=1e-5)


# Patience


@pytest.mark.parametrize("patience", [1, 2, 4, 100])
def test_patience_ends_after_so_many_epochs_without_a_better_one(small: Make, noisy: Task, patience: int) -> None:
    """By a plain loop over the accuracies of the whole training."""
    whole = small(training=Training(60, 16, RMSprop(0.03), select_best=True))
    accuracies = list(whole.learn(noisy).validation)
    best, since, expected = -1.0, 0, len(accuracies)
    for number, accuracy in enumerate(accuracies, start=1):
        best, since = (accuracy, 0) if accuracy > best else (best, since + 1)
        if since >= patience:
            expected = number
            break
    noting, learner = Noting(), small(training=Training(60, 16, RMSprop(0.03), patience=patience))
    report = learner.learn(noisy, callbacks=[noting])
    assert list(report.validation) == accuracies[:expected]
    assert report.ended == ("patience" if expected < len(accuracies) else "all steps")
    assert (expected < len(accuracies)) == (patience < 100)
    assert report.steps == len(noting.steps) == (noting.steps[-1].step)
    short = small(training=Training(report.steps, 16, RMSprop(0.03), select_best=True))
    short.learn(noisy)
    assert learner.bank["t"].mask == short.bank["t"].mask
    assert noisy.validation is not None
    assert learner.accuracy(noisy.validation, "t") == pytest.approx(max(report.validation))


def test_patience_needs_validation_examples(small: Make, blobs: MakeTask) -> None:
    learner = small(training=Training(3, 4, patience=2))
    with pytest.raises(ConfigError, match=r"no validation examples .* without select_best and patience"):
        learner.learn(blobs("t"))
    with pytest.raises(ConfigError, match=r"patience .*one by one"):
        learner.learn_together([blobs("t")])
    assert learner.tasks == []


def test_each_stage_has_its_own_patience(small: Make, noisy: Task) -> None:
    learner = small(method=ExSSNeT(TopK(0.3)), training=Training(200, 16, Adam(1e-2), patience=2))
    noting = Noting()
    report = learner.learn(noisy, callbacks=[noting])
    first = [step for step in noting.steps if step.step <= 100]
    second = [step for step in noting.steps if step.step > 100]
    assert 0 < len(first) < 100
    assert 0 < len(second) < 100
    assert second[0].step == 101
    assert report.steps == len(first) + len(second)
    assert noisy.validation is not None
    assert learner.accuracy(noisy.validation, "t") == pytest.approx(max(report.validation))
