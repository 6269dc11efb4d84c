"""What cannot work is refused by a named error and a sentence, wherever it comes in; the bank stays as it was."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from supermasks import BankFolder, Examples, Learner, Network, Task
from supermasks.bases import RandomBase
from supermasks.errors import (
    BankFormatError,
    ConfigError,
    InputError,
    LabelError,
    TaskError,
    TrainingError,
    UnknownTaskError,
    UnsupportedModuleError,
)
from supermasks.masks import Threshold, TopK
from supermasks.methods import ExSSNeT, SupSup
from supermasks.training import Adam, Training
from supermasks.workers import LocalProcesses

Make = Callable[..., Learner]
MakeTask = Callable[..., Task]


def test_numbers_of_numpy_are_seeds(small: Make, blobs: MakeTask, tmp_path: Path) -> None:
    learner = small(seed=np.int64(3))
    learner.learn(blobs("a"))
    learner.save(tmp_path / "bank")
    same = small(seed=3)
    same.learn(blobs("a"))
    assert same.bank["a"].mask == learner.bank["a"].mask


@pytest.mark.parametrize("name", ["", 5, None, "a\nb", "\ud800"])
def test_what_is_no_name_is_refused(name: object) -> None:
    with pytest.raises(TaskError, match="printable string"):
        Task(name, (0,), Examples(torch.zeros(1, 2), torch.zeros(1, dtype=torch.int64)))  # pyright: ignore


def test_rows_are_indices() -> None:
    with pytest.raises(TaskError, match="int64"):
        Examples(torch.zeros(3, 2), torch.zeros(1, dtype=torch.int64), rows=torch.tensor([0.0]))


def test_no_examples_are_no_batches() -> None:
    assert list(Examples(torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64)).batches(4)) == []


def test_an_unknown_task_of_another_type_is_unknown(small: Make, blobs: MakeTask) -> None:
    learner = small()
    task = blobs("a")
    learner.learn(task)
    for name in (5, None, ["a", "a"], ("a",), {"a": 1}, b"a", task):
        with pytest.raises(UnknownTaskError, match="the name of a task must be a string, got"):
            learner.bank[name]  # pyright: ignore
        assert name not in learner.bank
        assert learner.bank.get(name) is None  # pyright: ignore
        if name is not None:
            with pytest.raises(UnknownTaskError, match="the name of a task must be a string, got"):
                learner.predict(task.train.inputs, task=name)  # pyright: ignore


@pytest.mark.parametrize("chunk", [1.5, "2", True, None, 0, -3, torch.tensor(2.0), [5]])
def test_a_chunk_is_a_number_of_inputs(small: Make, blobs: MakeTask, chunk: Any) -> None:
    learner, task = small(), blobs("a")
    learner.learn(task)
    x = task.train.inputs
    for call in (
        lambda: learner.predict(x, task="a", chunk=chunk),
        lambda: learner.predict(x, chunk=chunk),
        lambda: learner.infer(x, chunk=chunk),
        lambda: learner.infer(x, together=True, chunk=chunk),
        lambda: learner.accuracy(task.train, "a", chunk=chunk),
        lambda: learner.calibrate({"a": task.train}, chunk=chunk),
        lambda: learner.score(x, task.train.targets, chunk=chunk),
        lambda: learner.predict_proba(x, "a", chunk=chunk),
    ):
        with pytest.raises(ConfigError, match=r"chunk.* must be an integer of at least 1"):
            call()
    assert learner.predict(x, task="a", chunk=np.int64(7)).labels == learner.predict(x, task="a").labels


def test_a_batch_of_one_cannot_train_batch_norm(small: Make, blobs: MakeTask) -> None:
    net = nn.Sequential(nn.Linear(8, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 6))
    learner = small(net)
    learner.training = type(learner.training)(steps=3, batch_size=1)
    with pytest.raises(TrainingError, match="batches of 1"):
        learner.learn(blobs("a"))
    assert learner.bank.names == []


def test_a_file_is_no_folder(small: Make, blobs: MakeTask, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    learner = small()
    learner.learn(blobs("a"))
    with pytest.raises(BankFormatError, match="another folder"):
        learner.save(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize(
    ("net", "message"),
    [
        (nn.Sequential(nn.LazyLinear(4)), "not initialised yet"),
        (nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4, track_running_stats=False)), "track_running_stats"),
        (nn.Sequential(nn.PReLU()), "nothing to mask"),
        (nn.Sequential(nn.ReLU()), "nothing to mask"),
    ],
)
def test_networks_that_are_not_supported_say_why(net: nn.Module, message: str) -> None:
    with pytest.raises(UnsupportedModuleError, match=message):
        Network(net, RandomBase(0))


def test_accuracy_needs_targets_among_the_classes(small: Make, blobs: MakeTask) -> None:
    learner = small()
    task = blobs("a", 3)
    learner.learn(task)
    for target in (-1, 3):
        with pytest.raises(LabelError, match=r"0\.\.2"):
            learner.accuracy(Examples(task.train.inputs[:1], torch.tensor([target])), "a")


def test_a_mask_that_keeps_nothing_is_not_learned(small: Make, blobs: MakeTask) -> None:
    learner = small(method=SupSup(Threshold(99.0)))
    with pytest.raises(TrainingError, match="keeps no weight"):
        learner.learn(blobs("a"))
    assert learner.bank.names == []


def test_classes_of_a_learned_task_do_not_change_with_the_list_they_came_from(small: Make, blobs: MakeTask) -> None:
    learner, task, names = small(), blobs("a", 2), ["x", "y"]
    learner.learn(Task("a", names, task.train))  # pyright: ignore
    before = learner.predict(task.train.inputs, task="a").labels
    names.reverse()
    assert learner.predict(task.train.inputs, task="a").labels == before


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_gradients_are_taken_where_they_are_switched_off(
    small: Make, blobs: MakeTask, context: Callable[[], AbstractContextManager[None]]
) -> None:
    plain, switched, task = small(), small(), blobs("a")
    plain.learn(task)
    with context():
        switched.learn(task)
        belief = switched.infer(task.train.inputs * 1.0, together=True)
    assert switched.bank["a"].mask == plain.bank["a"].mask
    assert torch.equal(belief.evidence, plain.infer(task.train.inputs, together=True).evidence)


def test_inputs_that_require_gradients_keep_theirs(small: Make, blobs: MakeTask) -> None:
    learner, task = small(), blobs("a")
    inputs = task.train.inputs.clone().requires_grad_()
    learner.learn(Task("a", task.classes, Examples(inputs, task.train.targets)))
    learner.infer(inputs, together=True)
    assert inputs.grad is None


def test_the_default_type_of_torch_does_not_matter(small: Make, blobs: MakeTask) -> None:
    task, plain, other = blobs("a"), small(), small()
    plain.learn(task)
    torch.set_default_dtype(torch.float64)
    try:
        other.learn(task)
        belief = other.infer(task.train.inputs)
        other.infer(task.train.inputs, together=True)
    finally:
        torch.set_default_dtype(torch.float32)
    assert other.bank["a"].mask == plain.bank["a"].mask
    assert torch.equal(belief.evidence, plain.infer(task.train.inputs).evidence)


def test_threads_do_not_mix_up_tasks(small: Make, blobs: MakeTask) -> None:
    learner = small()
    tasks = {name: blobs(name) for name in ("a", "b")}
    for task in tasks.values():
        learner.learn(task)
    expected = {name: learner.network.logits(task.train.inputs, learner.bank[name]) for name, task in tasks.items()}

    def wrong(name: str) -> int:
        found = (learner.network.logits(tasks[name].train.inputs, learner.bank[name]) for _ in range(100))
        return sum(not torch.equal(logits, expected[name]) for logits in found)

    with ThreadPoolExecutor(2) as threads:
        assert list(threads.map(wrong, tasks)) == [0, 0]


@pytest.mark.parametrize("inputs", [None, "x", 3, {"x": 1}, ["x"], [None], object(), np.array([["x"] * 8]), [[1] * 8]])
def test_what_is_no_input_is_refused(small: Make, blobs: MakeTask, inputs: object) -> None:
    learner = small()
    learner.learn(blobs("a"))
    for call in (
        learner.predict,
        learner.infer,
        learner.predict_proba,
        lambda x: learner.predict(x, task="a"),
        lambda x: learner.score(x, [0], "a"),
    ):
        with pytest.raises(InputError, match="this call"):
            call(inputs)  # pyright: ignore


def test_threads_may_ask_for_tasks_at_the_same_time(small: Make, blobs: MakeTask) -> None:
    learner = small()
    for name in "abcd":
        learner.learn(blobs(name))
    inputs = torch.cat([blobs(name).train.inputs[:8] for name in "abcd"])
    expected = learner.predict(inputs).tasks

    def wrong(number: int) -> int:
        del number
        return sum(learner.predict(inputs).tasks != expected for _ in range(60))

    with ThreadPoolExecutor(2) as threads:
        assert list(threads.map(wrong, range(2))) == [0, 0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 10.5}, "steps of Training must be an integer or None, got 10.5"),
        ({"steps": "10"}, "steps of Training must be an integer or None, got '10'"),
        ({"steps": 3, "batch_size": 32.0}, "batch_size of Training must be an integer, got 32.0"),
        ({"steps": True}, "steps of Training must be an integer or None, got True"),
        ({"optimiser": "adam"}, r"must be an Optimiser, such as RMSprop\(\.\.\.\), got 'adam'"),
        ({"weight_optimiser": torch.optim.Adam}, r"got the class Adam; call it: Adam\(\.\.\.\)"),
    ],
)
def test_settings_of_another_type_are_refused_at_once(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Training(**settings)


@pytest.mark.parametrize(
    ("what", "given", "message"),
    [
        ("training", {"steps": 3}, r"training\.Training\(epochs=10\), got {'steps': 3}"),
        ("method", "supsup", r"methods\.SupSup\(\), got 'supsup'; there are SupSup, Diluted, ExSSNeT"),
        ("method", SupSup, r"methods\.SupSup\(\), got the class SupSup"),
        ("inference", "one-shot", r"inference\.OneShot\(\), got 'one-shot'; there are .*OneShot, TwoShot"),
        ("inference", 3, r"inference\.OneShot\(\), got 3"),
        ("base", 0, r"bases\.RandomBase\(0\), got 0"),
    ],
)
def test_parts_of_a_learner_are_of_their_kind(what: str, given: object, message: str) -> None:
    with pytest.raises(ConfigError, match=f"the {what} of a learner must be an object such as supermasks.{message}"):
        Learner(nn.Linear(8, 6), **{what: given})  # pyright: ignore[reportArgumentType]
    if what != "base":
        learner = Learner(nn.Linear(8, 6))
        before = getattr(learner, what)
        with pytest.raises(ConfigError, match=message):
            setattr(learner, what, given)
        assert getattr(learner, what) is before
    with pytest.raises(ConfigError, match=r"the backbone of a learner must be .*, got the class Linear"):
        Learner(nn.Linear)  # pyright: ignore[reportArgumentType]


def test_what_is_set_later_must_fit_as_in_the_constructor(small: Make) -> None:
    trains_weights = Training(steps=3, weight_optimiser=Adam(1e-3))
    learner = small()
    with pytest.raises(ConfigError, match="SupSup trains no weights"):
        learner.training = trains_weights
    learner.method, learner.training = ExSSNeT(TopK(0.3)), trains_weights
    with pytest.raises(ConfigError, match="SupSup trains no weights"):
        learner.method = SupSup()
    assert isinstance(learner.method, ExSSNeT)


def test_slips_in_calls_are_said(small: Make, blobs: MakeTask, tmp_path: Path) -> None:
    learner, task = small(), blobs("a")
    with pytest.raises(TaskError, match="expected a Task to learn, got a tuple; make_task makes one"):
        learner.learn((task.train.inputs, task.train.targets))
    learner.learn(task, checkpoint=str(tmp_path / "a.pt"))
    assert list(tmp_path.iterdir()) == []
    for single in (task, None, 5):
        with pytest.raises(TaskError, match="tasks must be a list of tasks, got"):
            learner.learn_together(single)  # pyright: ignore
        with pytest.raises(TaskError, match="tasks must be a list of tasks, got"):
            learner.learn_apart(single, LocalProcesses(1))  # pyright: ignore
    with pytest.raises(TaskError, match="expected a Task to learn, got a tuple"):
        learner.learn_together([(task.train.inputs, task.train.targets)])  # pyright: ignore
    with pytest.raises(ConfigError, match="checkpoint must be the path of a file, or None, got 5"):
        learner.learn(blobs("b"), checkpoint=5)  # pyright: ignore
    with pytest.raises(ConfigError, match="held_out must map names of tasks to their examples, got"):
        learner.calibrate([task.train])  # pyright: ignore
    for among in ([], "a", 5, True):
        with pytest.raises(ConfigError, match="among must be a list of task names, at least one, got"):
            learner.predict(task.train.inputs, among=among)
    for call in (learner.predict, learner.infer, lambda x, **k: learner.predict(x, task="a", **k)):
        with pytest.raises(ConfigError, match=r"chunk.* must be an integer of at least 1, got 0"):
            call(task.train.inputs, chunk=0)
    with pytest.raises(TaskError, match="needs examples, got None"):
        learner.accuracy(None, "a")
    with pytest.raises(ConfigError, match="this machine cannot compute on device 'xpu'"):
        Network(nn.Linear(8, 6), RandomBase(0), device="xpu")


def test_labels_of_numpy_are_stored(small: Make, blobs: MakeTask, tmp_path: Path) -> None:
    learner, plain = small(), blobs("a", 2)
    learner.learn(Task("a", tuple(np.array(["cat", "dog"])), plain.train))
    learner.learn(Task("b", tuple(np.array([3, 7])), plain.train))
    learner.save(tmp_path / "bank")
    assert BankFolder(tmp_path / "bank").open()["a"].classes == ("cat", "dog")
    assert BankFolder(tmp_path / "bank").open()["b"].classes == (3, 7)


def test_inputs_of_another_type_are_refused_before_the_training(small: Make, blobs: MakeTask) -> None:
    learner, task = small(), blobs("a")
    steps: list[int] = []
    for dtype in (torch.float64, torch.float16, torch.bfloat16):
        other = Task("a", task.classes, Examples(task.train.inputs.to(dtype), task.train.targets))
        with pytest.raises(InputError, match=f"got {dtype} for task 'a'; convert them with"):
            learner.learn(other, lambda done, total: steps.append(done))
        view = Task("a", task.classes, Examples(task.train.inputs.to(dtype), task.train.targets, Tensor.float))
        seen = small()
        seen.learn(view)
        assert seen.bank["a"].input_dtype == torch.float32
    assert steps == []


def test_a_bank_that_got_owners_behind_the_learner_is_not_learned_over(small: Make, blobs: MakeTask) -> None:
    ours, theirs = (Learner(small().network, method=ExSSNeT(TopK(0.3)), training=Training(10)) for _ in range(2))
    theirs.learn(blobs("a"))
    ours.bank.merge(theirs.bank)
    with pytest.raises(ConfigError, match="put into the bank behind this learner"):
        ours.learn(blobs("b"))


def test_a_model_of_transformers_is_told_how_to_become_a_backbone(blobs: MakeTask) -> None:
    class Output:
        logits = torch.zeros(2, 3)

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(8, 6)

        def forward(self, x: Tensor) -> Output:
            return Output()

    with pytest.raises(InputError, match=r"wrap a model of transformers in supermasks\.nets\.HuggingFaceClassifier"):
        Learner(Model()).learn(blobs("a"))
