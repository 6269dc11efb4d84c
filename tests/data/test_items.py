"""A torch data set is read each time a batch asks for it, so that random transforms draw anew."""

import pickle
import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import ConcatDataset, DataLoader, Dataset, Subset, TensorDataset

from supermasks import Examples, Learner, Task
from supermasks.bank import MaskBank
from supermasks.data import make_task, with_validation
from supermasks.data.items import ItemInputs
from supermasks.errors import InputError, RunStateError, TaskError
from supermasks.methods import EWC, ExSSNeT, ICaRL, SupSup
from supermasks.nets import fully_connected
from supermasks.router import LinearDiscriminant
from supermasks.scores import KKT, InitialScores, KaimingUniform, Past
from supermasks.training import Training
from supermasks.types import Shapes

COUNT = 24
VALUES = torch.rand(COUNT, 6, generator=torch.Generator().manual_seed(0))
LABELS = [n % 3 for n in range(COUNT)]


class Items(Dataset):
    """Pairs of a row of VALUES, passed through a transform, and its label; it notes what is read."""

    def __init__(self, transform: Callable[[Tensor], object] = Tensor.clone) -> None:
        self.transform = transform
        self.read: list[int] = []

    def __len__(self) -> int:
        return COUNT

    def __getitem__(self, index: int) -> tuple[object, int]:
        if not 0 <= index < COUNT:
            raise IndexError(index)
        self.read.append(index)
        return self.transform(VALUES[index]), LABELS[index]


def noisy(values: Tensor) -> Tensor:
    return values + 0.1 * torch.rand(())


def learner(**settings: object) -> Learner:
    training = Training(**{"steps": 12, "batch_size": 8, **settings})  # type: ignore[arg-type]
    return Learner(fully_connected([6, 32, 3]), seed=0, training=training)


def logits(learned: Learner) -> Tensor:
    return learned.predict(VALUES, task="it").confidence


def test_a_deterministic_data_set_trains_like_its_tensors_bit_for_bit() -> None:
    answers = []
    for data in ((VALUES, LABELS), TensorDataset(VALUES, torch.tensor(LABELS)), Items(), Subset(Items(), range(COUNT))):
        learned = learner()
        learned.learn(make_task("it", data, data, validation=0.25))
        answers.append(logits(learned))
    assert all(torch.equal(confidence, answers[0]) for confidence in answers[1:])


def test_a_tensor_data_set_stays_a_tensor_but_a_subclass_is_read() -> None:
    class Louder(TensorDataset):
        def __getitem__(self, index: int) -> tuple[Tensor, ...]:
            inputs, label = super().__getitem__(index)
            return 2 * inputs, label

    labels = torch.tensor(LABELS)
    assert isinstance(make_task("it", TensorDataset(VALUES, labels)).train.inputs, Tensor)
    assert torch.equal(everything(make_task("it", Louder(VALUES, labels)).train), 2 * VALUES)


def everything(examples: Examples) -> Tensor:
    return examples.batch(torch.arange(len(examples)))[0]


@pytest.mark.parametrize(
    "draw",
    [lambda x: x + torch.rand(()), lambda x: x + np.random.rand(), lambda x: x + random.random()],
    ids=["torch", "numpy", "python"],
)
def test_a_random_transform_draws_anew_for_each_batch(draw: Callable[[Tensor], object]) -> None:
    task = with_validation(make_task("it", Items(draw)))
    assert task.validation is not None
    for examples in (task.train, task.validation):
        assert not torch.equal(everything(examples), everything(examples))
        assert isinstance(examples.inputs, ItemInputs)
        assert not examples.inputs.fixed


def test_each_epoch_has_its_own_draws() -> None:
    drawn: list[float] = []

    def transform(values: Tensor) -> Tensor:
        drawn.append(float(torch.rand(())))
        return values + drawn[-1]

    data = Items(transform)
    task = make_task("it", data)
    drawn.clear()
    data.read.clear()
    learner(steps=6).learn(task)  # 2 epochs of 3 batches
    last = data.read[-2 * COUNT :]
    assert sorted(last[:COUNT]) == sorted(last[COUNT:]) == list(range(COUNT))
    assert len(set(drawn)) == len(drawn)


def test_items_are_read_once_for_the_labels_and_then_in_the_order_asked_for() -> None:
    data = Items()
    task = make_task("it", data)
    assert data.read == list(range(COUNT))
    data.read.clear()
    assert (task.train.shape, task.train.dtype, len(task.train)) == ((6,), torch.float32, COUNT)
    assert data.read == [], "the shape is known"
    inputs, targets = task.train.batch(torch.tensor([5, 2, 5]))
    assert data.read == [5, 2, 5]
    assert torch.equal(inputs, VALUES[[5, 2, 5]])
    assert targets.tolist() == [2, 2, 2]
    assert task.train.batch(torch.zeros(0, dtype=torch.int64))[0].shape == (0, 6)


def test_transforms_that_draw_from_torch_depend_on_the_seed_of_the_learner() -> None:
    answers = []
    for seed in (1, 2):
        task = make_task("it", Items(noisy))
        torch.manual_seed(seed)
        learned = learner()
        learned.learn(task)
        answers.append(logits(learned))
    assert torch.equal(*answers)


READERS: dict[str, dict[str, object]] = {
    "mask": {},
    "transfer by neighbours": {"method": SupSup(initial=KKT(neighbours=3))},
    "two stages": {"method": ExSSNeT()},
    "importance of weights": {"method": EWC(examples=9)},
    "chosen examples": {"method": ICaRL()},
    "statistics of batches": {"training": {"statistics_batches": 3, "statistics_precision": "float16"}},
    "statistics of inputs": {"inference": LinearDiscriminant()},
}


def contents(bank: MaskBank) -> list[Tensor]:
    """All that tasks have left, as tensors."""
    found = [value for state in bank.states for change in state.changes.values() for value in change.tensors().values()]
    found += [mask for state in bank.states for mask in state.mask.packed.values()]
    found += [value for state in bank.states for value in state.buffers.values()]
    found += [value for state in bank.states if state.means is not None for value in state.means.tensors().values()]
    found += [] if bank.moments is None else [bank.moments.scatter]
    return [*found, *bank.memory.values()]


@pytest.mark.parametrize("reader", READERS)
def test_all_that_learning_reads_depends_on_the_seed_of_the_learner(reader: str) -> None:
    """And the generator of the process stays where it was."""
    found, settings = [], dict(READERS[reader])
    training = Training(**{"steps": 4, "batch_size": 8, **settings.pop("training", {})})  # type: ignore[arg-type]
    net = nn.Sequential(nn.Linear(6, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Linear(12, 3))
    for seed in (1, 2):
        one = Learner(net, seed=0, training=training, **settings)  # type: ignore[arg-type]
        for name in "ab":
            task = make_task(name, Items(noisy))
            torch.manual_seed(seed)
            before = torch.get_rng_state()
            one.learn(task)
            assert torch.equal(torch.get_rng_state(), before)
        found.append(contents(one.bank))
    assert len(found[0]) == len(found[1]) > 0
    assert all(torch.equal(first, second) for first, second in zip(*found, strict=True))


@dataclass(frozen=True)
class Noting(InitialScores):
    """Notes an example of the new task, as it is read when the task begins."""

    seen: ClassVar[list[Tensor]] = []

    def scores(self, shapes: Shapes, task: str, seed: int, past: Past) -> dict[str, Tensor]:
        assert past.examples is not None
        self.seen.append(past.examples.batch(torch.tensor([5]))[0])
        return KaimingUniform().scores(shapes, task, seed, past)


def test_tasks_that_are_learned_together_begin_as_one_by_one() -> None:
    task, ours, theirs = make_task("it", Items(noisy)), learner(), learner()
    ours.method = theirs.method = SupSup(initial=Noting())
    before = torch.get_rng_state()
    ours.learn(task)
    theirs.learn_together([task])
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(*Noting.seen)
    assert not torch.equal(Noting.seen[0], VALUES[5:6])


def test_counting_later_counts_what_learning_would_have_counted() -> None:
    task = make_task("it", Items(noisy))
    first, second = learner(), learner()
    first.inference = LinearDiscriminant()
    first.learn(task)
    second.learn(task)
    second.inference = LinearDiscriminant()
    torch.manual_seed(1)
    before = torch.get_rng_state()
    second.fit_router([task])
    assert torch.equal(torch.get_rng_state(), before)
    ours, theirs = (one.bank["it"].means for one in (first, second))
    assert ours is not None
    assert theirs is not None
    assert all(torch.equal(value, theirs.tensors()[name]) for name, value in ours.tensors().items())


def test_a_stopped_training_is_resumed_with_the_same_draws(tmp_path: Path) -> None:
    whole = learner()
    whole.learn(make_task("it", Items(noisy)))

    def stop(step: object) -> None:
        if step.step == 7:  # type: ignore[attr-defined]
            raise KeyboardInterrupt

    stopped = learner()
    with pytest.raises(KeyboardInterrupt):
        stopped.learn(make_task("it", Items(noisy)), callbacks=[stop], checkpoint=tmp_path / "it")
    assert (tmp_path / "it").exists()
    resumed = learner()
    torch.rand(11)  # the generator of the process is elsewhere
    resumed.learn(make_task("it", Items(noisy)), checkpoint=tmp_path / "it")
    assert torch.equal(logits(resumed), logits(whole))


def test_a_checkpoint_of_other_labels_is_still_rejected(tmp_path: Path) -> None:
    def stop(step: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        learner().learn(make_task("it", Items(noisy)), callbacks=[stop], checkpoint=tmp_path / "it")
    other = Subset(Items(noisy), [1, 0, *range(2, COUNT)])
    with pytest.raises(RunStateError, match="digest of targets"):
        learner().learn(make_task("it", other), checkpoint=tmp_path / "it")


def test_a_loader_is_read_once() -> None:
    data = Items(noisy)
    task = make_task("it", DataLoader(data, batch_size=5, drop_last=True))
    assert data.read == list(range(20))
    assert torch.equal(everything(task.train), everything(task.train))
    assert isinstance(task.train.inputs, Tensor)


def test_a_task_over_a_data_set_can_be_pickled() -> None:
    task: Task = pickle.loads(pickle.dumps(make_task("it", Items())))
    assert torch.equal(everything(task.train), VALUES)


def test_all_parts_have_the_form_of_the_training_inputs() -> None:
    pixels = Items(lambda values: (values * 255).to(torch.uint8).view(2, 3))
    task = make_task("it", pixels, Items(lambda values: values.view(1, 2, 3)))
    assert task.test is not None
    assert task.train.shape == task.test.shape == (1, 2, 3)
    assert torch.equal(everything(task.train), ((VALUES * 255).to(torch.uint8) / 255).view(-1, 1, 2, 3))
    with pytest.raises(InputError, match=r"must lie in 0\.\.1"):
        make_task("it", pixels, Items(lambda values: 3 + values.view(1, 2, 3)))
    ids = make_task("it", Items(lambda values: (values * 9).long()), token_ids=True).train
    assert ids.dtype == torch.int64
    assert torch.equal(everything(ids), (VALUES * 9).long())


def test_types_that_differ_far_apart_are_rejected_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a batch that happens to mix them would end the training."""
    monkeypatch.setattr("supermasks.data.gather._AT_ONCE", COUNT)
    many = ConcatDataset([Items(lambda values: (values * 255).to(torch.uint8)), Items()])
    with pytest.raises(InputError, match="must be of one type, got some that are pixels of type uint8"):
        make_task("it", many)


@pytest.mark.parametrize(
    ("number", "changed", "said"),
    [
        (7, torch.zeros(5), "must have one shape"),
        (23, torch.full((6,), torch.nan), "NaN or infinite, first in example 23"),
        (3, "text", "got a str"),
    ],
)
def test_an_item_that_cannot_be_used_is_rejected_at_once(number: int, changed: object, said: str) -> None:
    data = Items(lambda values: changed if torch.equal(values, VALUES[number]) else values)
    with pytest.raises(InputError, match=said):
        make_task("it", data)
    with pytest.raises(InputError, match=said):
        make_task("it", (VALUES, LABELS), data)


def test_the_number_of_a_broken_example_counts_from_the_first_item() -> None:
    broken = [Items()] * 20 + [Items(lambda values: values / 0)]
    with pytest.raises(InputError, match="first in example 480"):
        make_task("it", ConcatDataset(broken))


def test_inputs_whose_shape_changes_later_are_rejected() -> None:
    sizes = iter([6] * COUNT + [5] * COUNT)
    task = make_task("it", Items(lambda values: values[: next(sizes)]))
    with pytest.raises(InputError, match=re.escape("must keep the shape (6,), got (5,)")):
        everything(task.train)


def test_an_empty_data_set_is_rejected() -> None:
    with pytest.raises(TaskError, match="is empty"):
        make_task("it", Subset(Items(), []))
