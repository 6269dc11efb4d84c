"""Our tasks and learners in Avalanche. Marked tests need `avalanche-lib`."""

import importlib.util
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from supermasks import Examples, Learner, Task
from supermasks.avalanche import _Experiences, _Pairs, as_benchmark, as_strategy
from supermasks.errors import MissingExtraError, TaskError
from supermasks.methods import ExSSNeT, SupSup
from supermasks.methods.sequential import Sequential
from supermasks.nets import fully_connected
from supermasks.training import Adam, Training

installed = pytest.mark.skipif(importlib.util.find_spec("avalanche") is None, reason="avalanche-lib is not installed")
quiet = pytest.mark.filterwarnings("ignore")
Blobs = Callable[..., Task]


def learner_of(method: Any = None) -> Learner:
    training = Training(steps=60, batch_size=16, optimiser=Adam(1e-2))
    return Learner(fully_connected([8, 16, 6]), seed=0, method=method, training=training)


def evaluator() -> Any:
    from avalanche.evaluation.metrics import accuracy_metrics, forgetting_metrics
    from avalanche.training.plugins import EvaluationPlugin

    return EvaluationPlugin(accuracy_metrics(experience=True, stream=True), forgetting_metrics(stream=True), loggers=[])


def test_without_avalanche_the_error_says_what_to_install(blobs: Blobs, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "avalanche"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "avalanche", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'supermasks\[avalanche\]'"):
        as_benchmark([blobs("a")])


@installed
@quiet
def test_a_benchmark_has_the_tasks(blobs: Blobs) -> None:
    tasks = [blobs("a", 3), blobs("b", 2)]
    benchmark = as_benchmark(tasks)
    for stream, part in ((benchmark.train_stream, "train"), (benchmark.test_stream, "test")):
        assert [experience.task_labels for experience in stream] == [[0], [1]]
        for experience, task in zip(stream, tasks, strict=True):
            examples = getattr(task, part)
            inputs, targets = examples.batch(torch.arange(len(examples)))
            assert torch.equal(torch.stack([item[0] for item in experience.dataset]), inputs)
            assert [item[1] for item in experience.dataset] == targets.tolist()
            assert experience.classes_in_this_experience == set(range(len(task.classes)))
    with pytest.raises(TaskError, match="got none for task 'c'"):
        as_benchmark([Task("c", (0,), Examples(torch.zeros(2, 8), torch.zeros(2, dtype=torch.int64)))])


@installed
@quiet
@pytest.mark.parametrize("method", [SupSup(), ExSSNeT(), Sequential()], ids=repr)
def test_a_strategy_measures_what_the_learner_knows(method: Any, blobs: Blobs) -> None:
    tasks = [blobs(name) for name in "abc"]
    benchmark, learner = as_benchmark(tasks), learner_of(method)
    strategy = as_strategy(learner, evaluator=evaluator())
    matrix = list[list[float]]()
    for number, experience in enumerate(benchmark.train_stream):
        strategy.train(experience)
        found = strategy.eval(benchmark.test_stream)
        matrix.append([found[key] for key in sorted(found) if key.startswith("Top1_Acc_Exp")])
        assert matrix[-1][number + 1 :] == [0.0] * (len(tasks) - number - 1)  # not learned yet
        assert learner.bank.names == [f"task {label}" for label in range(number + 1)]
    expected = [learner.accuracy(task.test, f"task {n}") for n, task in enumerate(tasks) if task.test]
    assert matrix[-1] == pytest.approx(expected)
    forgotten = sum(matrix[n][n] - matrix[-1][n] for n in range(2)) / 2
    assert found["StreamForgetting/eval_phase/test_stream"] == pytest.approx(forgotten)
    assert (forgotten > 0.05) == isinstance(method, Sequential)


def experience(task: Task, label: int) -> Any:
    """Return what `_Experiences` reads of an experience of Avalanche."""
    inputs, targets = task.train.batch(torch.arange(len(task.train)))
    return SimpleNamespace(task_labels=[label], dataset=[*zip(inputs, targets.tolist(), strict=True)])


def test_inputs_of_tasks_that_were_not_learned_are_of_no_class(blobs: Blobs) -> None:
    learner, task = learner_of(), blobs("a", 3)
    inputs = task.train.batch(torch.arange(4))[0]
    experiences = _Experiences(learner)
    for labels in ([0, 0, 1, 1], None):
        answers = experiences.answer(inputs, labels, 3)
        assert answers.shape == (4, 4)
        assert answers.argmax(dim=1).tolist() == [3, 3, 3, 3]
    experiences.learn(experience(task, 0))
    answers = experiences.answer(inputs, [0, 1, 0, 1], 5)
    assert answers.shape == (4, 6)
    torch.testing.assert_close(
        answers[[0, 2], :3], learner.network.logits(inputs[[0, 2]], learner.bank["task 0"])[:, :3]
    )
    assert answers[[0, 2], 3:].eq(-torch.inf).all()
    assert answers[[1, 3]].argmax(dim=1).tolist() == [5, 5]
    assert answers[[1, 3]].isfinite().all()  # so that a loss over a stream is finite
    assert experiences.answer(inputs, [0] * 4, 2).shape == (4, 3)  # no further output where all were learned


def test_experiences_with_one_label_are_an_error(blobs: Blobs) -> None:
    """As those of Avalanche's class-incremental benchmarks."""
    learner = learner_of()
    experiences = _Experiences(learner)
    experiences.learn(experience(blobs("a"), 0))
    with pytest.raises(
        TaskError, match=r"a task label of its own, got 'task 0' again; use .*task_incremental_benchmark"
    ):
        experiences.learn(experience(blobs("b"), 0))
    assert learner.bank.names == ["task 0"]


@installed
@quiet
def test_the_task_can_be_inferred(blobs: Blobs) -> None:
    tasks = [blobs(name, shape=(8,)) for name in "ab"]
    benchmark, learner = as_benchmark(tasks), learner_of()
    strategy = as_strategy(learner, given=False, evaluator=evaluator())
    strategy.train(benchmark.train_stream)
    found = strategy.eval(benchmark.test_stream)
    for number, task in enumerate(tasks):
        assert task.test is not None
        inputs, targets = task.test.batch(torch.arange(len(task.test)))
        labels = learner.predict(inputs).labels
        right = sum(label == target for label, target in zip(labels, targets.tolist(), strict=True)) / len(labels)
        key = f"Top1_Acc_Exp/eval_phase/test_stream/Task00{number}/Exp00{number}"
        assert found[key] == pytest.approx(right)


@installed
@quiet
def test_an_experience_of_class_numbers_keeps_them(blobs: Blobs) -> None:
    """As in benchmarks whose classes are numbered through."""
    from avalanche.benchmarks import benchmark_from_datasets, task_incremental_benchmark
    from avalanche.benchmarks.utils import as_classification_dataset

    parts = {}
    for part in ("train", "test"):
        sets = [getattr(blobs(name, 2), part) for name in "ab"]
        shifted = [Examples(one.inputs, one.targets + 2 * n) for n, one in enumerate(sets)]
        parts[part] = [as_classification_dataset(_Pairs(one)) for one in shifted]
    benchmark, learner = task_incremental_benchmark(benchmark_from_datasets(**parts)), learner_of()
    strategy = as_strategy(learner, evaluator=evaluator())
    strategy.train(benchmark.train_stream)
    assert [learner.bank[name].classes for name in learner.bank.names] == [(0, 1), (2, 3)]
    found = strategy.eval(benchmark.test_stream)
    assert [found[key] > 0.9 for key in found if key.startswith("Top1_Acc_Exp")] == [True, True]
