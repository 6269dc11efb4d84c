"""The stages of a method share one training: all its steps, and each example as often as in a single stage."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.data import Dataset

from supermasks import Learner, Task
from supermasks.data import make_task
from supermasks.errors import ConfigError
from supermasks.masks import TopK
from supermasks.methods import ExSSNeT, Lesson, Method, PackNet, Session, SupSup
from supermasks.methods.supsup import MaskSession
from supermasks.nets import fully_connected
from supermasks.training import SGD, Adam, CropAndFlip, Step, Training


class Noted(Dataset[tuple[Tensor, int]]):
    """Examples that note which of them were read, and add noise to each."""

    def __init__(self, count: int, noise: float = 0.0) -> None:
        self.x, self.noise = torch.rand(count, 8, generator=torch.Generator().manual_seed(0)), noise
        self.read = list[int]()

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        self.read.append(index)
        return self.x[index] + self.noise * torch.randn(8), index % 2


@dataclass(frozen=True)
class Cut(SupSup):
    """Trains one session in several stages, as if nothing were between them."""

    shares: tuple[float, ...] = (0.3, 0.3, 0.4)

    @property
    def stages(self) -> tuple[float, ...]:
        return self.shares

    def begin(self, lesson: Lesson) -> Session:
        return _Cut(self, lesson)


class _Cut(MaskSession):
    def next(self) -> Session | None:
        return self


METHODS = [SupSup(), Cut(), ExSSNeT(TopK(0.5)), ExSSNeT(TopK(0.5), mask_share=0.9), PackNet()]


@pytest.mark.parametrize("method", METHODS, ids=repr)
@pytest.mark.parametrize(("count", "epochs"), [(100, 1), (100, 3), (60, 3.2), (33, 2)])
def test_all_stages_together_read_each_example_once_an_epoch(method: Method, count: int, epochs: float) -> None:
    data, trained, told = Noted(count), list[int](), list[Step]()

    def note(step: Step) -> None:
        trained.extend(data.read[-10:])  # the batch of this step
        told.append(step)

    learner = Learner(
        fully_connected([8, 16, 6]), method=method, training=Training(epochs=epochs, batch_size=10, optimiser=Adam())
    )
    report = learner.learn(make_task("t", data), callbacks=[note])
    steps = -(-round(count * epochs) // 10)
    assert len(trained) == 10 * steps
    for start in range(0, len(trained), count):
        epoch = trained[start : start + count]
        assert len(set(epoch)) == len(epoch)
    assert [step.step for step in told] == list(range(1, steps + 1))
    assert {step.steps for step in told} == {steps} == {report.steps}
    assert [step.epoch for step in told] == [10 * step // count for step in range(1, steps + 1)]


@pytest.mark.parametrize("shares", [(0.5, 0.5), (0.1, 0.2, 0.7)])
def test_stages_that_change_nothing_are_a_single_stage(
    shares: tuple[float, ...], cnn: Callable, blobs: Callable
) -> None:
    """Bit for bit: the order of the examples, their augmentation, and what layers draw."""
    task: Task = blobs("t", 3, (1, 6, 6))
    training, learned = Training(21, 16, SGD(0.1, 0.0), augmentation=CropAndFlip(1)), list[Learner]()
    for method in (SupSup(TopK(0.5)), Cut(TopK(0.5), shares=shares)):
        learned.append(Learner(nn.Sequential(nn.Dropout(0.2), *cnn(6)), method=method, training=training))
        learned[-1].learn(task)
    ours, theirs = (learner.bank["t"] for learner in learned)
    assert ours.mask == theirs.mask
    assert ours.buffers.keys() == theirs.buffers.keys()
    assert all(torch.equal(ours.buffers[name], value) for name, value in theirs.buffers.items())


def test_a_training_that_is_resumed_in_any_stage_draws_the_same(cnn: Callable, tmp_path: Path) -> None:
    """Also what a data set draws for its examples."""
    data, file = Noted(50, noise=0.5), tmp_path / "fit"
    net = nn.Sequential(nn.Linear(8, 16), nn.Dropout(0.3), nn.ReLU(), nn.Linear(16, 6))
    training, task = Training(20, 16, SGD(0.3, 0.0)), make_task("t", data)
    single, whole, resumed = (
        Learner(net, method=method, training=training) for method in (SupSup(TopK(0.5)), Cut(TopK(0.5)), Cut(TopK(0.5)))
    )
    for stop in (4, 6, 7, 11, 12, 13, 20):

        def progress(done: int, total: int, stop: int = stop) -> None:
            if done == stop:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            resumed.learn(task, progress, file)
    for learner in (single, whole):
        learner.learn(task, None)
    resumed.learn(task, None, file)
    assert resumed.bank["t"].mask == whole.bank["t"].mask == single.bank["t"].mask


def test_epochs_end_where_the_examples_do_also_in_a_later_stage(blobs: Callable[..., Task]) -> None:
    task, measured = blobs("t", 3, count=40), list[int]()
    task = replace(task, validation=task.test)

    def note(step: Step) -> None:
        if step.validation is not None:
            measured.append(step.step)

    learner = Learner(
        fully_connected([8, 16, 6]), method=ExSSNeT(TopK(0.5)), training=Training(12, 16, Adam(), select_best=True)
    )
    learner.learn(task, callbacks=[note])
    assert measured == [3, 5, 6, 8, 10, 12]  # 16 n examples pass 40, 80, ...; each stage has 6 steps


@given(st.integers(2, 2000), st.lists(st.integers(1, 50), min_size=2, max_size=5))
def test_the_steps_of_stages_add_up(steps: int, sizes: list[int]) -> None:
    shares = [size / sum(sizes) for size in sizes]
    training = Training(steps, 16, warmup=0.1)
    if steps < len(sizes):
        with pytest.raises(ConfigError, match=f"at least {len(sizes)} steps, one for each stage of the method"):
            training.parts(shares, 100)
        return
    parts = training.parts(shares, 100)
    counts = [part.total_steps(100) for part in parts]
    assert sum(counts) == steps
    assert min(counts) >= 1
    assert all(replace(part, steps=steps) == training for part in parts)
    if min(shares) * steps >= 1:  # none is lifted to a step: each end is the nearest step
        for stage in range(1, len(shares)):
            assert abs(sum(counts[:stage]) - steps * sum(sizes[:stage]) / sum(sizes)) <= 0.5 + 1e-9


@pytest.mark.parametrize("steps", [1, 3, 5, 7, 1001])
def test_a_training_makes_as_many_steps_as_it_says(steps: int, blobs: Callable[..., Task]) -> None:
    learner = Learner(fully_connected([8, 16, 6]), method=ExSSNeT(TopK(0.5)), training=Training(steps, 4, Adam()))
    if steps == 1:
        with pytest.raises(ConfigError, match="at least 2 steps"):
            learner.learn(blobs("t"))
    else:
        assert learner.learn(blobs("t")).steps == steps


@pytest.mark.parametrize(
    "shares", [(), (0.5,), (2.0,), (0.0, 1.0), (-0.5, 1.5), (0.5, 0.6), ("all",), (float("nan"),), 1.0], ids=repr
)
def test_shares_that_do_not_make_a_whole_are_refused(shares: tuple[float, ...], blobs: Callable[..., Task]) -> None:
    @dataclass(frozen=True)
    class Wrong(SupSup):
        @property
        def stages(self) -> tuple[float, ...]:
            return shares

    learner = Learner(fully_connected([8, 16, 6]), method=Wrong(), training=Training(10, 4, Adam()))
    for learn in (lambda: learner.learn(blobs("t")), lambda: learner.learn_together([blobs("t")])):
        with pytest.raises(ConfigError, match=r"the stages of Wrong must be .* add up to 1, .* got"):
            learn()
