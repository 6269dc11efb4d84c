"""A bank of each format that was ever released is read, learned on, and turned into the other form, bit for bit.

`formats/N` is a small bank of format N: four tasks by SupSup and ExSSNeT, in 6 one by BatchEnsemble, in 7 and 8 with
statistics for a router. `formats/answers.json` has some inputs and the logits of each task. Format 5 has a test of its
own. A bank in these folders is never written anew: a new format gets a new one.
"""

import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from supermasks import BankFolder, Learner
from supermasks.data import make_task

FOLDER = Path(__file__).with_name("formats")


def net() -> nn.Module:
    """The backbone, which is that of the banks of format 5."""
    spec = importlib.util.spec_from_file_location("format5", Path(__file__).with_name("test_format5.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Net()


@pytest.fixture(params=["6", "7", "8"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    shutil.copytree(FOLDER / request.param, tmp_path / request.param)
    return tmp_path / request.param


def answers(folder: Path) -> tuple[torch.Tensor, dict[str, Any]]:
    stored = json.loads((FOLDER / "answers.json").read_text())
    return torch.tensor(stored["inputs"]), stored["logits"][folder.name]


def check(learner: Learner, folder: Path) -> None:
    inputs, logits = answers(folder)
    assert len(logits) >= 4
    for task, expected in logits.items():
        got = learner.network.logits(inputs, learner.bank[task])
        torch.testing.assert_close(got, torch.tensor(expected), rtol=1e-4, atol=1e-5)


def bytes_of(path: Path) -> dict[str, bytes]:
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def test_the_banks_are_of_these_formats() -> None:
    for number in ("6", "7"):
        assert json.loads((FOLDER / number / "manifest.json").read_text())["version"] == int(number)
    assert (FOLDER / "8" / "bank.sqlite").read_bytes()[60:64] == (8).to_bytes(4, "big")


def test_tasks_answer_as_they_did_and_the_bank_is_sound(folder: Path) -> None:
    learner = Learner.load(folder, net())
    assert learner.tasks == list(answers(folder)[1])
    check(learner, folder)
    assert (learner.bank.moments is not None) == (folder.name != "6")
    bank, before = BankFolder(folder), bytes_of(folder)
    assert bank.verify(bank.open().network(net())) == []
    assert bank.repair() == []
    assert bytes_of(folder) == before


def test_a_task_is_learned_on_it(folder: Path) -> None:
    learner = Learner.load(folder, net())
    learner.learn(make_task("new", train=(torch.rand(20, 1, 6, 6), [0, 1] * 10)), progress=None)
    learner.save(folder)
    assert (folder / "bank.sqlite").exists()
    assert not (folder / "manifest.json").exists()
    again = Learner.load(folder, net())
    assert again.tasks == [*answers(folder)[1], "new"]
    check(again, folder)
    assert BankFolder(folder).verify(again.bank.network(net())) == []


def test_both_forms_have_the_same_bits_whatever_way_they_went(folder: Path, tmp_path: Path) -> None:
    bank = BankFolder(folder)
    bank.convert("shared")
    files = {name: data for name, data in bytes_of(folder).items() if name != "manifest.json"}
    assert len(files) >= 6
    for _ in range(2):
        bank.convert("living")
        assert list(bytes_of(folder)) == ["bank.sqlite"]
        check(Learner.load(folder, net()), folder)
        bank.convert("shared")
        there = {name: data for name, data in bytes_of(folder).items() if name != "manifest.json"}
        assert {name: there[name] for name in files if name.startswith("tasks/")} == {
            name: data for name, data in files.items() if name.startswith("tasks/")
        }
        assert sorted(there.values()) == sorted(files.values())
    for form in ("living", "shared"):
        other = BankFolder(tmp_path / form)
        bank.convert(form, other.path)  # pyright: ignore[reportArgumentType]
        assert other.verify() == []
        check(Learner.load(other.path, net()), folder)
        assert [other.open().digest(name) for name in other.open().names] == [
            bank.open().digest(name) for name in bank.open().names
        ]


def test_it_is_copied_compacted_and_changed(folder: Path, tmp_path: Path) -> None:
    bank = BankFolder(folder)
    bank.backup(tmp_path / "copy")
    check(Learner.load(tmp_path / "copy", net()), folder)
    bank.remove("task 0")  # the next mask may be coded relative to its own
    bank.rename("task 1", "kept")
    before = sum(bank.sizes().values())
    bank.compact()
    assert sum(bank.sizes().values()) <= before
    learner = Learner.load(folder, net())
    inputs, logits = answers(folder)
    got = learner.network.logits(inputs, learner.bank["kept"])
    torch.testing.assert_close(got, torch.tensor(logits["task 1"]), rtol=1e-4, atol=1e-5)
    assert bank.verify() == []
