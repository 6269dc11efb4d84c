"""What cannot work is refused by a named error and a sentence, wherever it comes in; the bank stays as it was."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from supermasks import Examples, Learner, Network, Task
from supermasks.bases import RandomBase
from supermasks.errors import (
    BankFormatError,
    InputError,
    LabelError,
    TaskError,
    TrainingError,
    UnknownTaskError,
    UnsupportedModuleError,
)

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
    with pytest.raises(UnknownTaskError):
        learner.predict(task.train.inputs, task=5)  # pyright: ignore


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
        (nn.Sequential(nn.LazyLinear(4)), "no shape yet"),
        (nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4, track_running_stats=False)), "track_running_stats"),
        (nn.Embedding(3, 4), "neither a weight or bias"),
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


@pytest.mark.parametrize("inputs", [np.zeros((2, 8), np.float32), [[0.0] * 8], None])
def test_only_tensors_are_inputs(small: Make, blobs: MakeTask, inputs: object) -> None:
    learner = small()
    learner.learn(blobs("a"))
    with pytest.raises(InputError, match="torch tensor"):
        learner.predict(inputs)  # pyright: ignore
