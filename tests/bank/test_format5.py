"""Banks that were written in format 5 are read, and can be learned on.

`format5` holds two banks that version 0.1.0 wrote: all tasks share the network, or each has a head. In both, the tasks
are two by SupSup (the second mask is coded relative to the first), two by ExSSNeT (int4; together, with scores
remembered), and one by Individual. `answers.json` has some inputs and the logits of each task.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from supermasks import BankFolder, Learner
from supermasks.data import make_task

FOLDER = Path(__file__).with_name("format5")


class Net(nn.Module):
    """The backbone of these banks."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 3, 3)
        self.norm = nn.BatchNorm2d(3)
        self.hidden = nn.Linear(48, 8)
        self.head = nn.Linear(8, 4)
        self.place = nn.Parameter(torch.arange(3.0).view(1, 3, 1, 1) / 10)
        self.register_buffer("seen", torch.tensor(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = torch.relu(self.norm(self.conv(x))) + self.place
        return self.head(torch.relu(self.hidden(features.flatten(1))))


@pytest.fixture(params=["shared", "heads"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    shutil.copytree(FOLDER / request.param, tmp_path / request.param)
    return tmp_path / request.param


def answers(folder: Path) -> tuple[torch.Tensor, dict[str, Any]]:
    stored = json.loads((FOLDER / "answers.json").read_text())
    return torch.tensor(stored["inputs"]), stored["logits"][folder.name]


def check(learner: Learner, folder: Path) -> None:
    inputs, logits = answers(folder)
    for task, expected in logits.items():
        got = learner.network.logits(inputs, learner.bank[task])
        torch.testing.assert_close(got, torch.tensor(expected), rtol=1e-4, atol=1e-5)


def test_tasks_answer_as_they_did(folder: Path) -> None:
    learner = Learner.load(folder, Net())
    assert learner.tasks == [f"task {n}" for n in range(5)]
    assert learner.bank["task 0"].classes == (0, 1)
    assert learner.bank["task 1"].classes == (("cat", 1), "dog")
    check(learner, folder)


def test_the_folder_is_sound(folder: Path) -> None:
    bank = BankFolder(folder)
    assert bank.verify(bank.open().network(Net())) == []
    assert bank.repair() == []


def test_a_task_is_learned_on_it_and_all_are_loaded(folder: Path) -> None:
    learner = Learner.load(folder, Net())
    inputs = torch.rand(20, 1, 6, 6)
    learner.learn(make_task("new", train=(inputs, [0, 1] * 10)), progress=None)
    expected = learner.network.logits(inputs, learner.bank["new"])
    learner.save(folder)
    again = Learner.load(folder, Net())
    assert again.tasks == [*(f"task {n}" for n in range(5)), "new"]
    check(again, folder)
    assert torch.equal(again.network.logits(inputs, again.bank["new"]), expected)
    assert BankFolder(folder).verify(again.bank.network(Net())) == []


def test_it_is_written_into_another_folder(folder: Path, tmp_path: Path) -> None:
    Learner.load(folder, Net()).save(tmp_path / "copy")
    check(Learner.load(tmp_path / "copy", Net()), folder)


def test_tasks_are_removed_and_renamed(folder: Path) -> None:
    bank = BankFolder(folder)
    bank.remove("task 0")  # the next mask is coded relative to its own
    bank.rename("task 1", "kept")
    learner = Learner.load(folder, Net())
    inputs, logits = answers(folder)
    got = learner.network.logits(inputs, learner.bank["kept"])
    torch.testing.assert_close(got, torch.tensor(logits["task 1"]), rtol=1e-4, atol=1e-5)
