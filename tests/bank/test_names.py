"""Names of tasks: a name is accepted everywhere or nowhere, and a bad one from a file harms no other task."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from states import changed

from supermasks import BankFolder, Learner, MaskBank
from supermasks.cli import main
from supermasks.errors import BankFormatError, ConfigError, DuplicateTaskError, TaskError, UnknownTaskError
from supermasks.methods import Sequential
from supermasks.nets import fully_connected
from supermasks.state import TaskState
from supermasks.training import Training
from supermasks.types import Examples, Task

Make = Callable[..., TaskState]
BytesOf = Callable[[Path], dict[str, bytes]]

BAD = [5, b"5", None, 1.5, True, ("a",), ["a"], "", "a\nb", "\x1b]0;title\x07", "\ud800", "a\u200bb", "\ufeffa", "\x00"]
GOOD = ["5", "a b", " ", "[red]x[/red]", "ü/猫", "{0!r}", "%s", "'\"\\", "../..", "CON", "x" * 5000]


def ways(saved: BankFolder, bank: MaskBank, make_state: Make, name: object) -> dict[str, Callable[[], object]]:
    examples = Examples(torch.zeros(2, 3), torch.tensor([0, 1]))
    return {
        "task": lambda: Task(name, (0, 1), examples),  # pyright: ignore[reportArgumentType]
        "state": lambda: make_state(name),
        "another name of a state": lambda: changed(bank["a"], name=name),  # pyright: ignore[reportArgumentType]
        "rename in memory": lambda: bank.rename("a", name),  # pyright: ignore[reportArgumentType]
        "rename in a folder": lambda: saved.rename("a", name),  # pyright: ignore[reportArgumentType]
        "append": lambda: saved.append(changed(bank["b"], name=name)),  # pyright: ignore[reportArgumentType]
    }


@pytest.mark.parametrize("name", BAD, ids=ascii)
def test_an_invalid_name_is_refused_everywhere(
    saved: BankFolder, make_state: Make, bytes_of: BytesOf, name: object
) -> None:
    before, bank = bytes_of(saved.path), saved.open()
    for way in ways(saved, bank, make_state, name).values():
        with pytest.raises(TaskError, match="name of a task must be a printable string"):
            way()
    assert bytes_of(saved.path) == before
    assert bank.names == list("abcd")


@pytest.mark.parametrize("name", GOOD, ids=range(len(GOOD)))
def test_a_name_is_accepted_everywhere_and_comes_back(saved: BankFolder, make_state: Make, name: str) -> None:
    bank = saved.open()
    for what, way in ways(saved, bank, make_state, name).items():
        if what == "append":
            with pytest.raises(DuplicateTaskError):
                way()
        else:
            way()
    assert name in bank
    assert saved.open().names == [name, "b", "c", "d"]
    assert saved.read()[name].name == name


@pytest.mark.parametrize("name", [5, None, [1], {"a": 1}, True, "", "a\nb", "\x1b[2J", "\ud800", "a\u200bb"], ids=ascii)
def test_a_bad_name_in_a_file_makes_only_that_task_an_error(
    shared: BankFolder, make_state: Make, resign: Callable[..., None], capsys: pytest.CaptureFixture[str], name: object
) -> None:
    masks = {state.name: state.mask for state in shared.read()}
    resign(shared, lambda manifest: manifest["tasks"][1].update(name=name))
    bank = shared.open()
    odd = bank.names[1]
    with pytest.raises(BankFormatError, match="000001"):
        bank[odd]
    assert all(bank[other].mask == masks[other] for other in "acd")  # also those that are coded relative to it
    (problem,) = shared.verify()
    assert (problem.file, problem.task) == ("tasks/000001.safetensors", odd)
    assert main(["bank", "verify", str(shared.path)]) == 2
    assert main(["inspect", str(shared.path)]) == 2
    shown = "".join(capsys.readouterr())
    assert "supermasks bank repair" in shown
    assert all(line.isprintable() for line in shown.splitlines())
    # A living bank has no such names, so that they must be changed first.
    with pytest.raises(BankFormatError, match="supermasks bank repair"):
        shared.append(make_state("e", 4))
    (problem,) = shared.repair()
    shared.append(make_state("e", 4))
    assert shared.open().names == ["a", problem.task, "c", "d", "e"]
    shared.rename(problem.task, "good")
    assert shared.verify() == []
    assert shared.open()["good"].mask == masks["b"]


def test_repair_gives_another_name_where_the_name_is_all_that_is_wrong(
    shared: BankFolder, resign: Callable[..., None]
) -> None:
    masks = [state.mask for state in shared.read()]

    def change(manifest: dict) -> None:
        for entry, name in zip(manifest["tasks"], ["a\nb", 5, "", "a\\nb"], strict=True):
            entry["name"] = name

    resign(shared, change)
    problems = shared.repair()
    assert len(problems) == 3
    assert "renamed" in problems[0].message
    bank = shared.read()
    assert [state.mask for state in bank] == masks
    assert bank.names[3] == "a\\nb"  # this one could be read, and keeps its name
    assert len({*bank.names}) == 4
    assert bank.names == [problem.task for problem in problems] + ["a\\nb"]
    assert shared.verify() == []


@pytest.mark.parametrize("name", [5, None, ["a"], {"a"}, b"a"])
def test_asking_by_anything_but_a_name_is_an_error(saved: BankFolder, name: object) -> None:
    bank = saved.open()
    assert name not in bank
    for ask in (bank.__getitem__, bank.remove, saved.remove, lambda n: bank.rename(n, "z"), lambda n: bank.subset([n])):
        with pytest.raises(UnknownTaskError, match="a string"):
            ask(name)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ConfigError, match="list of task names"):
        bank.subset("ab")


def test_a_bank_whose_tasks_trained_all_weights_is_repaired_too(
    blobs: Callable[..., Task], tmp_path: Path, resign: Callable[..., None]
) -> None:
    learner = Learner(fully_connected([8, 12, 3]), method=Sequential(), training=Training(4, 16))
    for name in "ab":
        learner.learn(blobs(name))
    shared = BankFolder(tmp_path / "bank")
    shared.save(learner.bank)
    shared.convert("shared")

    def change(manifest: dict) -> None:
        manifest["tasks"][0]["name"] = "a\nb"

    resign(shared, change)
    (problem,) = shared.repair()
    assert "renamed" in problem.message
    assert shared.open().names == [problem.task, "b"]
    assert shared.verify(shared.open().network(fully_connected([8, 12, 3]))) == []
