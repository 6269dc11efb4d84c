"""A training that is stopped and resumed ends as one that never was stopped."""

import copy
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from supermasks import Examples, Learner, Network, Task
from supermasks.bases import RandomBase
from supermasks.errors import RunStateError, StorageError, TrainingError
from supermasks.masks import Threshold, TopK
from supermasks.methods import (
    EWC,
    PSP,
    BatchEnsemble,
    DERpp,
    ExSSNeT,
    Individual,
    Lesson,
    Method,
    Session,
    SignedMasks,
    SupSup,
)
from supermasks.methods.supsup import MaskSession
from supermasks.nets import fully_connected
from supermasks.scores import KKT, LastScores, MeanOfMasks, MeanOfScores, Past
from supermasks.training import SGD, Adam, CropAndFlip, RMSprop, Training
from supermasks.training.checkpoint import digest_of_past, load_checkpoint, save_checkpoint

Outcome = tuple[dict[str, Tensor], dict[str, Tensor], object]


@pytest.fixture(autouse=True)
def control_c() -> Iterator[None]:
    """Have Control-C raise KeyboardInterrupt: tests that run in the background inherit that it is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


EVERYTHING = Training(
    60,
    12,
    Adam(0.02),
    "cosine",
    warmup=0.1,
    accumulate=2,
    augmentation=CropAndFlip(1),
    select_best=True,
)


@pytest.fixture
def task(blobs: Callable[..., Task]) -> Task:
    """A task with noisy validation examples, so that epochs differ."""
    plain = blobs("t", 3, (1, 6, 6), count=50)
    noise = 3 * torch.randn(20, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    return replace(plain, validation=Examples(plain.test.inputs[:20] + noise, plain.test.targets[:20]))


@pytest.fixture
def net(cnn: Callable[..., nn.Module]) -> nn.Module:
    """Layers with random numbers, and layers with statistics."""
    return nn.Sequential(nn.Dropout(0.2), *cnn(6))


def same(first: Outcome, second: Outcome) -> None:
    for ours, theirs in zip(first[:2], second[:2], strict=True):
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert replace(first[2], seconds=0.0) == replace(second[2], seconds=0.0)


def stopping_at(*steps: int) -> Callable[[int, int], None]:
    def progress(done: int, total: int) -> None:
        if done in steps:
            raise KeyboardInterrupt

    return progress


class Told:
    """Progress that notes the steps."""

    def __init__(self) -> None:
        self.steps: list[int] = []

    def __call__(self, done: int, total: int) -> None:
        self.steps.append(done)


@pytest.mark.parametrize(
    "training",
    [
        EVERYTHING,
        replace(EVERYTHING, optimiser=RMSprop(0.01), steps=None, epochs=11.3, accumulate=1),
        replace(EVERYTHING, optimiser=SGD(0.05, 0.9, 0.01), precision="bfloat16", select_best=False),
        replace(EVERYTHING, clip_norm=0.05, label_smoothing=0.2, class_weights=(1.0, 2.0, 0.5)),
        replace(EVERYTHING, class_weights="balanced", patience=4),
    ],
    ids=["adam", "rmsprop", "sgd", "clipped", "patient"],
)
def test_a_training_interrupted_at_some_steps_ends_the_same(
    fitted: Callable, task: Task, net: nn.Module, tmp_path: Path, training: Training
) -> None:
    file = tmp_path / "new" / "fit.pt"
    whole = fitted(task, training, net, rule=TopK(0.5))
    steps = whole[2].steps
    for stop in (1, 5, 6, steps // 2, steps - 1, steps):  # within an epoch, and at its end
        with pytest.raises(KeyboardInterrupt):
            fitted(task, training, net, rule=TopK(0.5), checkpoint=file, progress=stopping_at(stop))
        assert file.exists()
    same(fitted(task, training, net, rule=TopK(0.5), checkpoint=file), whole)
    assert list(file.parent.iterdir()) == []


def test_a_killed_training_resumes_from_the_last_checkpoint(
    fitted: Callable, task: Task, net: nn.Module, tmp_path: Path
) -> None:
    file, copies = tmp_path / "fit.pt", tmp_path / "copies"
    copies.mkdir()

    def copy(done: int, total: int) -> None:
        if file.exists():
            shutil.copy(file, copies / f"{done}.pt")

    whole = fitted(task, EVERYTHING, net, checkpoint=file, checkpoint_seconds=0, progress=copy)
    same(fitted(task, EVERYTHING, net), whole)
    assert len(list(copies.iterdir())) == 59  # all but the first step find the file of the step before
    for step in (2, 30, 60):
        told = Told()
        shutil.copy(copies / f"{step}.pt", file)
        resumed = fitted(task, EVERYTHING, net, checkpoint=file, progress=told)
        same(resumed, whole)
        assert told.steps == list(range(step, 61))


def test_between_checkpoints_time_passes(fitted: Callable, task: Task, tmp_path: Path, net: nn.Module) -> None:
    file, found = tmp_path / "fit.pt", []
    fitted(task, EVERYTHING, net, checkpoint=file, progress=lambda done, total: found.append(file.exists()))
    assert found == [False] * 60  # a minute has not passed


def test_control_c_in_the_middle_of_a_step_waits_for_its_end(
    fitted: Callable, task: Task, net: nn.Module, tmp_path: Path
) -> None:
    class Pressing(nn.Module):
        """Has Control-C pressed in the seventh forward pass of the training."""

        calls, pressed = 0, False

        def forward(self, inputs: Tensor) -> Tensor:
            Pressing.calls += self.training
            if Pressing.calls == 7 and self.pressed:
                signal.raise_signal(signal.SIGINT)
            return inputs

    file, training = tmp_path / "fit.pt", replace(EVERYTHING, accumulate=1, select_best=False)
    whole = fitted(task, training, nn.Sequential(Pressing(), net))
    Pressing.calls, Pressing.pressed = 0, True
    told = Told()
    with pytest.raises(KeyboardInterrupt):
        fitted(task, training, nn.Sequential(Pressing(), net), checkpoint=file, progress=told)
    assert told.steps == [1, 2, 3, 4, 5, 6, 7]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    same(fitted(task, training, nn.Sequential(Pressing(), net), checkpoint=file), whole)


def test_a_second_control_c_does_not_wait(fitted: Callable, task: Task, net: nn.Module, tmp_path: Path) -> None:
    class Pressing(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
            raise AssertionError("it waited")

    with pytest.raises(KeyboardInterrupt):
        fitted(task, EVERYTHING, nn.Sequential(Pressing(), net), checkpoint=tmp_path / "fit.pt")
    assert list(tmp_path.iterdir()) == []


def test_without_a_checkpoint_control_c_stops_at_once(
    fitted: Callable, task: Task, net: nn.Module, tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        fitted(task, EVERYTHING, net, progress=stopping_at(3))
    assert list(tmp_path.iterdir()) == []


def test_the_users_own_handler_stays(fitted: Callable, task: Task, net: nn.Module, tmp_path: Path) -> None:
    seen: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: seen.append(number))
    try:
        fitted(
            task,
            EVERYTHING,
            net,
            checkpoint=tmp_path / "fit.pt",
            progress=lambda done, _: signal.raise_signal(signal.SIGINT) if done == 2 else None,
        )
    finally:
        signal.signal(signal.SIGINT, before)
    assert seen == [signal.SIGINT]


def test_other_threads_train_too(fitted: Callable, task: Task, net: nn.Module, tmp_path: Path) -> None:
    whole, found = fitted(task, EVERYTHING, net), []
    thread = threading.Thread(
        target=lambda: found.append(fitted(task, EVERYTHING, net, checkpoint=tmp_path / "fit.pt"))
    )
    thread.start()
    thread.join()
    same(found[0], whole)


@pytest.fixture
def stopped(fitted: Callable, task: Task, net: nn.Module, tmp_path: Path) -> Path:
    """The checkpoint of a training that was stopped at step 4."""
    file = tmp_path / "fit.pt"
    with pytest.raises(KeyboardInterrupt):
        fitted(task, EVERYTHING, net, checkpoint=file, progress=stopping_at(4))
    return file


def test_a_checkpoint_of_another_training_is_refused(
    fitted: Callable, task: Task, net: nn.Module, cnn: Callable, stopped: Path
) -> None:
    content = stopped.read_bytes()
    wider = nn.Sequential(nn.Dropout(0.2), *cnn(7))
    fewer = replace(task, train=Examples(task.train.inputs[:40], task.train.targets[:40]))
    others = task.train.inputs.clone()
    others[1] += 5
    altered = replace(task, train=Examples(others, task.train.targets))
    smoother = copy.deepcopy(net)
    next(layer for layer in smoother.modules() if isinstance(layer, nn.BatchNorm2d)).eps = 0.1
    for what, arguments, seed in (
        ("task", (replace(task, name="u"), EVERYTHING, net), 3),
        ("settings", (task, replace(EVERYTHING, warmup=0.2), net), 3),
        ("seed", (task, EVERYTHING, net), 4),
        ("network", (task, EVERYTHING, wider), 3),
        ("number of examples", (fewer, EVERYTHING, net), 3),
        ("checksum of all inputs", (altered, EVERYTHING, net), 3),
        ("modules", (task, EVERYTHING, smoother), 3),
    ):
        with pytest.raises(RunStateError, match=rf"another training: its {what} is .* delete the file"):
            fitted(*arguments, seed=seed, checkpoint=stopped)
    with pytest.raises(RunStateError, match="its norm is 'per_task', expected 'frozen'"):
        fitted(task, EVERYTHING, net, norm="frozen", checkpoint=stopped)
    assert stopped.read_bytes() == content
    assert fitted(task, EVERYTHING, net, checkpoint=stopped)[2].steps == 60


@pytest.mark.parametrize("length", [0, 1, 10, 60, 1000, -1000, -10, -1])
def test_a_truncated_checkpoint_says_so(
    fitted: Callable, task: Task, net: nn.Module, stopped: Path, length: int
) -> None:
    stopped.write_bytes(stopped.read_bytes()[:length])
    with pytest.raises(RunStateError, match=r"fit\.pt is .* delete it"):
        fitted(task, EVERYTHING, net, checkpoint=stopped)


def test_every_altered_byte_is_noticed(fitted: Callable, task: Task, net: nn.Module, stopped: Path) -> None:
    whole = stopped.read_bytes()
    for place in [*range(0, 70, 9), *range(70, len(whole), len(whole) // 40), len(whole) - 1]:
        content = bytearray(whole)
        content[place] ^= 1
        stopped.write_bytes(content)
        with pytest.raises(RunStateError, match=r"fit\.pt is .* delete it"):
            fitted(task, EVERYTHING, net, checkpoint=stopped)


def test_other_files_are_refused(fitted: Callable, task: Task, net: nn.Module, tmp_path: Path) -> None:
    file = tmp_path / "fit.pt"
    torch.save({"weights": torch.zeros(3)}, file)
    with pytest.raises(RunStateError, match="not a checkpoint of this version"):
        fitted(task, EVERYTHING, net, checkpoint=file)
    assert list(torch.load(file)) == ["weights"]
    file.unlink()
    file.mkdir()
    with pytest.raises(StorageError, match="cannot be read"):
        fitted(task, EVERYTHING, net, checkpoint=file)


def test_a_checkpoint_that_cannot_be_written_keeps_the_one_before(
    fitted: Callable, task: Task, net: nn.Module, stopped: Path
) -> None:
    resource, before = pytest.importorskip("resource"), stopped.read_bytes()
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limit[1]))
    try:
        with pytest.raises(StorageError, match=r"fit\.pt cannot be written.*free some space"):
            fitted(task, EVERYTHING, net, checkpoint=stopped, checkpoint_seconds=0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert stopped.read_bytes() == before
    assert [file.name for file in stopped.parent.iterdir()] == [stopped.name]
    assert fitted(task, EVERYTHING, net, checkpoint=stopped)[2].steps == 60


def test_a_checkpoint_in_the_folder_of_a_file_or_over_a_folder(
    fitted: Callable, task: Task, net: nn.Module, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "file" / "fit.pt", tmp_path / "folder", tmp_path / ("x" * 300)):
        with pytest.raises(StorageError, match="cannot be"):
            fitted(task, EVERYTHING, net, checkpoint=path, checkpoint_seconds=0)


def test_a_checkpoint_is_written_through_no_link_and_what_was_stopped_is_removed(
    fitted: Callable, task: Task, net: nn.Module, tmp_path: Path
) -> None:
    precious, others = tmp_path / "precious", tmp_path / "fit.pt.mine.partial"
    for file in (precious, others, tmp_path / "fit.pt.0123456789abcdef.partial"):
        file.write_text("precious")
    for name in ("fit.pt", "fit.pt.part"):
        (tmp_path / name).symlink_to(precious)
    save_checkpoint(tmp_path / "fit.pt", {"task": "t"}, {"step": 1})
    assert load_checkpoint(tmp_path / "fit.pt", {"task": "t"}) == {"step": 1}
    assert precious.read_text() == others.read_text() == "precious"
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "fit.pt",
        "fit.pt.mine.partial",
        "fit.pt.part",
        "precious",
    ]


class Harm:
    def __reduce__(self) -> tuple:
        return (Path.touch, (Path("harm-was-done"),))


def test_no_code_in_a_checkpoint_is_run(
    fitted: Callable, task: Task, net: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    save_checkpoint(Path("fit.pt"), {"task": "t"}, {"step": 1})
    save_checkpoint(Path("fit.pt"), {"task": "t"}, {"step": Harm()})
    with pytest.raises(RunStateError, match="UnpicklingError"):
        fitted(task, EVERYTHING, net, checkpoint=Path("fit.pt"))
    assert not Path("harm-was-done").exists()


def test_a_failed_training_keeps_its_last_checkpoint(
    fitted: Callable, task: Task, net: nn.Module, tmp_path: Path
) -> None:
    file = tmp_path / "fit.pt"
    task.train.inputs[3] = 3e38
    with pytest.raises(TrainingError):
        fitted(task, EVERYTHING, net, checkpoint=file, checkpoint_seconds=0)
    assert file.exists()
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize(
    ("stopped", "asked", "what"),
    [
        (SupSup(TopK(0.1)), SupSup(TopK(0.5)), "method"),
        (SupSup(Threshold()), SupSup(TopK(0.1)), "method"),
        (SupSup(TopK(0.5), KKT()), SupSup(TopK(0.5)), "method"),
        (ExSSNeT(TopK(0.5)), ExSSNeT(TopK(0.5), exclusive=False), "method"),
        (SupSup(TopK(0.5), KKT()), SupSup(TopK(0.5), KKT()), "list of tasks before"),
        (ExSSNeT(TopK(0.1)), ExSSNeT(TopK(0.1)), "digest of weights"),
    ],
    ids=repr,
)
@pytest.mark.parametrize("step", [10, 35])
def test_a_training_is_resumed_only_by_its_method_and_after_its_tasks(
    stopped: SupSup, asked: SupSup, what: str, step: int, blobs: Callable[..., Task], tmp_path: Path
) -> None:
    file, training = tmp_path / "c", Training(40, 16, Adam(1e-2))

    def learner(method: SupSup, *names: str) -> Learner:
        one = Learner(fully_connected([8, 16, 6]), method=method, training=training)
        for name in names:
            one.learn(blobs(name))
        return one

    with pytest.raises(KeyboardInterrupt):
        learner(stopped, "a").learn(blobs("z"), stopping_at(step), file)
    other = learner(asked, "a") if what == "method" else learner(asked, "a", "b")
    with pytest.raises(RunStateError, match=f"its {what} is"):
        other.learn(blobs("z"), checkpoint=file)
    assert "z" not in other.bank
    resumed, whole = learner(stopped, "a"), learner(stopped, "a", "z")
    resumed.learn(blobs("z"), checkpoint=file)
    assert resumed.bank["z"].mask == whole.bank["z"].mask
    assert list(tmp_path.iterdir()) == []


def test_tasks_before_do_not_matter_to_one_that_begins_at_random(blobs: Callable[..., Task], tmp_path: Path) -> None:
    file, training = tmp_path / "c", Training(40, 16, Adam(1e-2))
    ours, theirs = (Learner(fully_connected([8, 16, 6]), training=training) for _ in range(2))
    with pytest.raises(KeyboardInterrupt):
        ours.learn(blobs("z"), stopping_at(10), file)
    theirs.learn(blobs("a"))
    theirs.learn(blobs("z"), checkpoint=file)
    ours.learn(blobs("z"))
    assert theirs.bank["z"].mask == ours.bank["z"].mask


def test_a_training_is_not_resumed_on_corrected_data(blobs: Callable[..., Task], tmp_path: Path) -> None:
    task, file = blobs("z", 2), tmp_path / "c"
    assert isinstance(task.train.inputs, Tensor)
    learner = Learner(fully_connected([8, 16, 6]), training=Training(40, 16, Adam(1e-2)))
    with pytest.raises(KeyboardInterrupt):
        learner.learn(task, stopping_at(10), file)
    corrected = {
        "list of classes": replace(task, classes=("x", "y")),
        "digest of targets": replace(task, train=replace(task.train, targets=1 - task.train.targets)),
        "digest of inputs": replace(task, train=replace(task.train, inputs=task.train.inputs * 2)),
    }
    for what, other in corrected.items():
        with pytest.raises(RunStateError, match=f"its {what} is"):
            learner.learn(other, checkpoint=file)
    learner.learn(task, checkpoint=file)


def test_a_training_is_resumed_only_with_the_examples_that_choose_its_best_epoch(
    fitted: Callable, task: Task, net: nn.Module, stopped: Path
) -> None:
    held = task.validation
    assert held is not None
    others = {
        "number of validation examples": Examples(held.inputs[:10], held.targets[:10]),
        "digest of validation targets": replace(held, targets=1 - held.targets.clamp(max=1)),
        "digest of validation inputs": replace(held, inputs=held.inputs + 1),
    }
    for what, validation in others.items():
        with pytest.raises(RunStateError, match=f"its {what} is"):
            fitted(replace(task, validation=validation), EVERYTHING, net, checkpoint=stopped)
    same(fitted(task, EVERYTHING, net, checkpoint=stopped), fitted(task, EVERYTHING, net))


def test_validation_examples_that_choose_nothing_do_not_matter(
    fitted: Callable, task: Task, net: nn.Module, tmp_path: Path
) -> None:
    file, training = tmp_path / "fit.pt", replace(EVERYTHING, select_best=False)
    with pytest.raises(KeyboardInterrupt):
        fitted(task, training, net, checkpoint=file, progress=stopping_at(4))
    same(fitted(replace(task, validation=None), training, net, checkpoint=file), fitted(task, training, net))


@pytest.mark.parametrize(
    "method",
    [
        SupSup(initial=LastScores()),
        SupSup(initial=MeanOfScores()),
        SupSup(initial=MeanOfMasks()),
        SignedMasks(initial=MeanOfMasks()),
        Individual(warm=True),
    ],
    ids=repr,
)
def test_a_training_is_resumed_only_after_what_earlier_tasks_have_left(
    method: Method, blobs: Callable[..., Task], tmp_path: Path
) -> None:
    """The earlier tasks have the same name, and the shared weights are those of the base."""
    file, training = tmp_path / "c", Training(40, 16, Adam(1e-2))

    def learner(earlier: Task) -> Learner:
        one = Learner(fully_connected([8, 16, 6]), method=method, training=training)
        one.learn(earlier)
        return one

    ours, other = blobs("a"), replace(blobs("another"), name="a")
    with pytest.raises(KeyboardInterrupt):
        learner(ours).learn(blobs("z"), stopping_at(10), file)
    with pytest.raises(RunStateError, match="its digest of tasks before is"):
        learner(other).learn(blobs("z"), checkpoint=file)
    resumed, whole = learner(ours), learner(ours)
    resumed.save(tmp_path / "bank")
    resumed = Learner.load(tmp_path / "bank", fully_connected([8, 16, 6]))  # what it has left comes back from disk
    resumed.learn(blobs("z"), checkpoint=file)
    whole.learn(blobs("z"))
    inputs = blobs("z").train.inputs
    assert torch.equal(*(one.predict(inputs, task="z").confidence for one in (resumed, whole)))


@pytest.mark.parametrize(
    "method",
    [SupSup(TopK(0.5)), SignedMasks(), ExSSNeT(TopK(0.5)), EWC(examples=9), DERpp(memory=9), BatchEnsemble(), PSP()],
    ids=repr,
)
def test_what_earlier_tasks_have_left_is_known_again_from_disk(
    method: Method, blobs: Callable[..., Task], tmp_path: Path
) -> None:
    net = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 6))

    def learned(*tasks: Task) -> Learner:
        network = Network(net, RandomBase(0), head="5")
        one = Learner(network, method=method, training=Training(4, 16))
        for task in tasks:
            one.learn(task)
        return one

    def digest(one: Learner) -> str:
        return digest_of_past(Past(one.bank.states, one.bank.memory, names=one.bank.names))

    whole = learned(blobs("a"), blobs("b"))
    whole.save(tmp_path / "bank")
    assert digest(Learner.load(tmp_path / "bank", net)) == digest(whole)
    others = learned(blobs("a")), learned(replace(blobs("another"), name="a"), blobs("b"))
    assert len({digest(one) for one in (whole, *others)}) == 3


class _Noting(MaskSession):
    """Notes something that torch.load refuses to read."""

    noted: ClassVar[object] = None

    def state(self) -> dict[str, object]:
        return {"steps": 3, "noted": self.noted}


@dataclass(frozen=True)
class Noting(SupSup):
    def begin(self, lesson: Lesson) -> Session:
        return _Noting(self, lesson)


@pytest.mark.parametrize(
    "noted",
    [np.float64(3.0), frozenset([1]), np.zeros(2), lambda: 1],
    ids=["float64", "frozenset", "array", "function"],
)
def test_a_state_that_cannot_be_read_again_is_refused_when_it_is_first_saved(
    noted: object, blobs: Callable[..., Task], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_Noting, "noted", noted)
    learner = Learner(fully_connected([8, 16, 6]), method=Noting(), training=Training(20, 16))
    with pytest.raises((RunStateError, KeyboardInterrupt)) as caught:
        learner.learn(blobs("z"), stopping_at(3), tmp_path / "c")
    assert caught.match(r"plain data from the session's state\(\), .* got 'noted': .* numpy's")
    assert list(tmp_path.iterdir()) == []


def test_a_state_of_plain_data_is_saved(blobs: Callable[..., Task], tmp_path: Path) -> None:
    learner = Learner(fully_connected([8, 16, 6]), method=Noting(), training=Training(20, 16))
    with pytest.raises(KeyboardInterrupt):
        learner.learn(blobs("z"), stopping_at(3), tmp_path / "c")
    assert learner.learn(blobs("z"), checkpoint=tmp_path / "c").steps == 20
