"""Classes of a user's own module in commands: `supermasks --import MODULE ...`."""

import subprocess
import sys
from pathlib import Path

import pytest

from supermasks import BankFolder
from supermasks.cli import main
from supermasks.errors import StorageError, UnknownKindError

OWN = """
from dataclasses import dataclass
from supermasks.changes import Replaced
from supermasks.experiments.ways import MethodWay
from supermasks.methods import Individual, Learned

class Doubled(Replaced):
    key = "doubled"

@dataclass(frozen=True)
class Twice(Individual):
    def begin(self, lesson):
        session = super().begin(lesson)
        finish = session.finish
        session.finish = lambda: Learned({
            name: Doubled(change.value) if name in lesson.network.weights else change
            for name, change in finish().changes.items()
        })
        return session

@dataclass(frozen=True, kw_only=True)
class TwiceWay(MethodWay):
    name = "twice"
    label = "Twice"

    def method(self):
        return Twice()
"""


def _command(folder: Path, *words: str) -> str:
    command = [sys.executable, "-m", "supermasks", "--import", "own_change", *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_bank_with_a_change_of_a_users_own_is_not_taken_for_damaged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "own_change.py").write_text(OWN, encoding="utf-8")
    small = ("--dataset", "sample", "--tasks", "2", "--steps", "2", "--net", "LeNet300(20)")
    _command(tmp_path, "run", "permuted-mnist", "--way", "twice", *small, "--out", "run")
    run, bank = tmp_path / "run", BankFolder(tmp_path / "run" / "bank")
    before = bank.path.joinpath("bank.sqlite").read_bytes()
    with pytest.raises(UnknownKindError, match="unknown kind 'doubled'; if it is your own, import its module first"):
        bank.open()["permuted-0000"]
    problems = bank.verify()
    assert {problem.task for problem in problems} == {"permuted-0000", "permuted-0001"}
    assert all(problem.unread for problem in problems)
    with pytest.raises(StorageError, match="nothing was repaired"):
        bank.repair()
    assert main(["bank", "verify", str(run)]) == 2
    shown = capsys.readouterr().err
    assert "--import MODULE" in shown
    assert "repair" not in shown
    assert main(["bank", "repair", str(run)]) == 2
    assert main(["inspect", str(run)]) == 2
    assert bank.path.joinpath("bank.sqlite").read_bytes() == before
    assert "2 tasks" in _command(tmp_path, "bank", "verify", "run")


def test_a_module_that_cannot_be_imported_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--import", "no_such_module_of_mine", "report", "."]) == 2
    assert "no_such_module_of_mine" in capsys.readouterr().err
    assert main(["--import"]) == 2
    assert "needs the name of a module" in capsys.readouterr().err
