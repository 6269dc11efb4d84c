"""What the next task begins with: nothing but what is given in its place takes it away."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from supermasks import BankFolder, Learner, MaskBank, Task
from supermasks.methods import SupSup
from supermasks.nets import fully_connected
from supermasks.scores import KaimingUniform, MeanOfScores
from supermasks.state import TaskState
from supermasks.training import RMSprop, Training

Make = Callable[..., TaskState]
Blobs = Callable[..., Task]


def remembered(bank: MaskBank) -> list[float]:
    return bank.memory["mean"].tolist() if bank.memory else []


@pytest.fixture
def elsewhere(tmp_path: Path) -> BankFolder:
    return BankFolder(tmp_path / "elsewhere")


def save_twice(folder: BankFolder, make: Make) -> BankFolder:
    bank = folder.open()
    folder.save(bank)
    folder.save(bank)
    return folder


def save_without(folder: BankFolder, make: Make) -> BankFolder:
    """Save a bank of the same tasks that was put together from states, and remembers nothing."""
    bank = MaskBank(folder.header())
    for state in [*folder.read(), make("e", 4)]:
        bank.add(state)
    folder.save(bank)
    return folder


def change(act: Callable[[BankFolder, Make], object]) -> Callable[[BankFolder, Make], BankFolder]:
    def changed(folder: BankFolder, make: Make) -> BankFolder:
        act(folder, make)
        return folder

    return changed


WAYS: dict[str, Callable[[BankFolder, Make], BankFolder]] = {
    "append": change(lambda folder, make: folder.append(make("e", 4))),
    "rename": change(lambda folder, make: folder.rename("a", "z")),
    "remove": change(lambda folder, make: folder.remove("b")),
    "remove all": change(lambda folder, make: [folder.remove(name) for name in "abcd"]),
    "repair": change(lambda folder, make: folder.repair()),
    "repair a broken task": change(
        lambda folder, make: [
            folder.convert("shared"),
            (folder.path / "tasks/000003.safetensors").write_text("x"),
            folder.repair(),
        ]
    ),
    "save": save_twice,
    "save a bank that remembers nothing": save_without,
    "save a subset of all": change(lambda folder, make: folder.save(folder.open().subset(list("dcba")))),
    "overwrite by a subset of all": change(lambda folder, make: folder.save(folder.open().subset(list("abcd")), True)),
}


@pytest.mark.parametrize("way", WAYS)
def test_no_change_of_a_folder_drops_the_memory(saved: BankFolder, make_state: Make, way: str) -> None:
    folder = WAYS[way](saved, make_state)
    assert remembered(folder.open()) == remembered(folder.read()) == [1.0, 1.0, 1.0]
    assert folder.verify() == []


IN_MEMORY: dict[str, Callable[[MaskBank, Make], MaskBank]] = {
    "as it is": lambda bank, make: bank,
    "add": lambda bank, make: [bank.add(make("e", 4)), bank][1],
    "rename": lambda bank, make: [bank.rename("a", "z"), bank][1],
    "remove": lambda bank, make: [bank.remove("a"), bank][1],
    "subset of all": lambda bank, make: bank.subset(bank.names),
    "merge": lambda bank, make: [bank.merge(bank_of(bank, make("e", 4), memory=[7.0])), bank][1],
    "merge into an empty one": lambda bank, make: merged(bank_of(bank), bank),
    "merge into one that remembers nothing": lambda bank, make: merged(bank_of(bank, make("e", 4)), bank),
}


def bank_of(like: MaskBank, *states: TaskState, memory: Sequence[float] = ()) -> MaskBank:
    bank = MaskBank(like.header)
    for state in states:
        bank.add(state)
    bank.memory = {"mean": torch.tensor(memory)} if memory else {}
    return bank


def merged(bank: MaskBank, other: MaskBank) -> MaskBank:
    bank.merge(other)
    return bank


@pytest.mark.parametrize("opened", ["open", "read"])
@pytest.mark.parametrize("way", IN_MEMORY)
def test_no_change_of_a_bank_drops_the_memory(
    saved: BankFolder, elsewhere: BankFolder, make_state: Make, way: str, opened: str
) -> None:
    bank = IN_MEMORY[way](getattr(saved, opened)(), make_state)
    assert bank.shares("memory")
    elsewhere.save(bank)  # before anybody has looked at it
    assert remembered(bank) == [1.0, 1.0, 1.0]
    assert remembered(elsewhere.read()) == [1.0, 1.0, 1.0]


def test_a_given_memory_replaces_the_old_one(saved: BankFolder, make_state: Make) -> None:
    saved.append(make_state("e", 4), {"mean": torch.zeros(2)})
    assert remembered(saved.open()) == [0.0, 0.0]
    saved.append(make_state("f", 5), {})
    assert not saved.open().shares("memory")
    assert not list(saved.path.glob("memory-*"))


def test_saving_the_same_again_writes_nothing(saved: BankFolder) -> None:
    before = {file: file.stat().st_mtime_ns for file in saved.path.rglob("*.*") if file.name != ".lock"}
    saved.save(saved.open())
    saved.save(saved.read())
    assert {file: file.stat().st_mtime_ns for file in before} == before
    assert {*saved.path.rglob("*.*")} - {saved.path / ".lock"} == {*before}


def test_a_subset_has_no_memory(saved: BankFolder) -> None:
    """The mean over all tasks is not that over some."""
    chosen = saved.open().subset(["a", "b"])
    assert not chosen.shares("memory")
    assert dict(chosen.memory) == {}


def learner_of(names: str, blobs: Blobs, method: SupSup | None = None) -> Learner:
    training = Training(steps=5, batch_size=16, optimiser=RMSprop(1e-2))
    learner = Learner(fully_connected([8, 16, 6]), method=method or SupSup(initial=MeanOfScores()), training=training)
    for name in names:
        learner.learn(blobs(name))
    return learner


def memory_of(learner: Learner) -> dict[str, Tensor]:
    return dict(learner.bank.memory)


def same(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> bool:
    return ours.keys() == theirs.keys() != set() and all(torch.equal(v, theirs[n]) for n, v in ours.items())


def load_all(path: Path) -> Learner:
    return Learner.load(path, fully_connected([8, 16, 6]), tasks=["b", "a"])


def pretrained_all(path: Path) -> Learner:
    return Learner.from_pretrained(path, fully_connected([8, 16, 6]), tasks=["a", "b"])


@pytest.mark.parametrize("load", [load_all, pretrained_all])
@pytest.mark.parametrize("save", ["save", "save_pretrained"])
def test_a_learner_that_loads_all_of_the_tasks_by_name_remembers(
    blobs: Blobs, tmp_path: Path, load: Callable[[Path], Learner], save: str
) -> None:
    learner = learner_of("ab", blobs)
    learner.save(tmp_path / "bank")
    for folder in ("bank", "other", "bank"):
        getattr(load(tmp_path / "bank"), save)(tmp_path / folder)
        assert same(memory_of(load(tmp_path / folder)), memory_of(learner))


def test_a_task_of_a_method_that_remembers_nothing_leaves_it(blobs: Blobs, tmp_path: Path) -> None:
    learner = learner_of("ab", blobs)
    learner.save(tmp_path / "bank")
    other = Learner.load(tmp_path / "bank", fully_connected([8, 16, 6]), method=SupSup(initial=KaimingUniform()))
    before = memory_of(other)
    other.learn(blobs("c"))
    other.learn_together([blobs("d"), blobs("e")])
    other.save(tmp_path / "bank")
    assert same(memory_of(Learner.load(tmp_path / "bank", fully_connected([8, 16, 6]))), before)
