from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from supermasks import Examples, Learner, Task
from supermasks.errors import ConfigError, LabelError, TaskError
from supermasks.masks import TopK
from supermasks.methods import ExSSNeT, SupSup
from supermasks.nets import fully_connected
from supermasks.training import SGD, Adam, RMSprop, Training


@pytest.fixture
def noisy(blobs: Callable[..., Task]) -> Callable[..., Task]:
    """Make a task whose accuracy on validation examples goes up and down."""

    def make(shape: tuple[int, ...] = (8,)) -> Task:
        task = blobs("t", 3, shape, count=40)
        rng = torch.Generator().manual_seed(1)
        inputs = task.test.inputs + 2.5 * torch.randn(task.test.inputs.shape, generator=rng)
        return replace(task, validation=Examples(inputs[:12], task.test.targets[:12]))

    return make


def measured(task: Task, network: object, scores: dict[str, Tensor]) -> float:
    """The accuracy among the classes of the task, by hand, for fully_connected([8, 16, 6])."""
    first, second = ((network.weights[n] * (scores[n] >= 0)).double() for n in ("1.weight", "3.weight"))
    logits = (task.validation.inputs.double() @ first.T).relu() @ second.T
    return (logits[:, :3].argmax(dim=1) == task.validation.targets).double().mean().item()


def test_what_was_best_at_the_end_of_an_epoch_is_kept(
    fitted: Callable, noisy: Callable, small: Callable[..., Learner]
) -> None:
    """Whatever the accuracies come to, which differs between machines; of several seeds some show each case."""
    task, seen = noisy(), {"not the last": 0, "not all alike": 0, "the earliest of equals": 0}
    ends = [3, 5, 8, 10, 13, 15, 18, 19]  # 40, 80, ... examples in batches of 16, and the last step
    for seed in range(6):
        epochs = [fitted(task, Training(steps, 16, RMSprop(0.03)), seed=seed)[0] for steps in ends]
        network = small(seed=seed).network
        accuracies = [measured(task, network, scores) for scores in epochs]
        best = accuracies.index(max(accuracies))
        seen["not the last"] += best < len(ends) - 1
        seen["not all alike"] += min(accuracies) < max(accuracies)
        seen["the earliest of equals"] += accuracies.count(max(accuracies)) > 1

        scores, _, report = fitted(task, Training(19, 16, RMSprop(0.03), select_best=True), seed=seed)
        assert report.validation == pytest.approx(tuple(accuracies))
        assert all(torch.equal(scores[name], epochs[best][name]) for name in scores)
    assert all(seen.values()), seen


def test_the_statistics_of_the_best_epoch_come_back_with_it(fitted: Callable, noisy: Callable, cnn: Callable) -> None:
    task, best = noisy((1, 6, 6)), list[int]()
    for seed in range(4):
        kept, kept_buffers, report = fitted(task, Training(30, 20, RMSprop(0.05), select_best=True), cnn(6), seed)
        best.append(report.validation.index(max(report.validation)))
        scores, buffers, _ = fitted(task, Training(2 * (best[-1] + 1), 20, RMSprop(0.05)), cnn(6), seed)
        assert all(torch.equal(kept[name], scores[name]) for name in scores)
        assert all(torch.equal(kept_buffers[name], buffers[name]) for name in buffers)
        assert buffers["1.num_batches_tracked"] == 2 * (best[-1] + 1)
    assert min(best) < len(report.validation) - 1


def test_measuring_changes_nothing_of_the_training(fitted: Callable, noisy: Callable, cnn: Callable) -> None:
    task = noisy((1, 6, 6))
    with_dropout = torch.nn.Sequential(torch.nn.Dropout(0.2), *cnn(6))
    _, _, measuring = fitted(task, Training(20, 16, RMSprop(0.01), select_best=True), with_dropout)
    _, _, silent = fitted(task, Training(20, 16, RMSprop(0.01)), with_dropout)
    assert measuring.loss == silent.loss
    assert silent.validation == ()


def test_a_batch_of_several_epochs_is_measured_once(fitted: Callable, noisy: Callable) -> None:
    _, _, report = fitted(noisy(), Training(3, 100, select_best=True))
    assert len(report.validation) == 3


@pytest.mark.parametrize("empty", [True, False])
def test_there_must_be_something_to_select_by(small: Callable[..., Learner], blobs: Callable, empty: bool) -> None:
    task = blobs("t")
    if empty:
        task = replace(task, validation=Examples(torch.zeros(0, 8), torch.zeros(0, dtype=torch.int64)))
    learner = small(training=Training(3, 4, select_best=True))
    with pytest.raises(ConfigError, match="'t' has no validation examples"):
        learner.learn(task)
    assert learner.bank.names == []


def test_validation_examples_are_checked_as_those_of_the_test(blobs: Callable) -> None:
    task = blobs("t")
    with pytest.raises(LabelError, match=r"validation targets of task 't' must be in 0..2 .* got 3"):
        replace(task, validation=Examples(torch.zeros(2, 8), torch.tensor([0, 3])))
    with pytest.raises(
        TaskError, match=r"validation inputs of task 't' must have the shape of the training inputs, \(8,\), got \(9,\)"
    ):
        replace(task, validation=Examples(torch.zeros(2, 9), torch.tensor([0, 1])))


def test_the_mask_alone_is_kept_where_its_weights_are_no_better(blobs: Callable[..., Task]) -> None:
    """The mask alone is right about all examples, so that nothing can be better than it."""
    task, net = blobs("t", 3), fully_connected([8, 32, 6])
    task = replace(task, validation=task.test)
    training = Training(40, 16, Adam(1e-2), select_best=True, weight_optimiser=SGD(5.0, momentum=0.0))
    learner = Learner(net, method=ExSSNeT(TopK(0.5)), training=training)
    report = learner.learn(task)
    assert max(report.validation[: len(report.validation) // 2]) == 1
    assert task.validation is not None
    assert learner.accuracy(task.validation, "t") == 1
    assert learner.bank["t"].owned is None
    masks = Learner(net, method=SupSup(TopK(0.5)), training=replace(training, steps=20, weight_optimiser=None))
    masks.learn(task)
    assert learner.bank["t"].mask == masks.bank["t"].mask


def test_weights_that_were_better_than_the_mask_alone_are_kept(blobs: Callable[..., Task]) -> None:
    """The mask hardly moves from its start, at chance."""
    task = blobs("t", 3)
    task = replace(task, validation=task.test)
    training = Training(40, 16, Adam(1e-9), select_best=True, weight_optimiser=Adam(1e-2))
    learner = Learner(fully_connected([8, 32, 6]), method=ExSSNeT(TopK(0.5), mask_share=0.1), training=training)
    report = learner.learn(task)
    assert max(report.validation[:1]) < 0.8 < max(report.validation)
    assert learner.bank["t"].owned is not None
    assert task.validation is not None
    assert learner.accuracy(task.validation, "t") == pytest.approx(max(report.validation))
