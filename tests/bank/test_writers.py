"""Several processes write into one bank: nothing is lost, and who is refused is told so."""

import json
import os
import pickle
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from states import masked_state

import supermasks
from supermasks import BankFolder
from supermasks.bank import BankHeader
from supermasks.errors import BankBusyError, MaskError
from supermasks.masks import Mask
from supermasks.state import TaskState

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="writers are forks")

HEADER = BankHeader({"type": "Some"}, "0" * 64, {"w": (60, 50)}, {})
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(supermasks.__file__).parents[1]), "OMP_NUM_THREADS": "1"}

# Another program, which knows nothing of the library: it begins to write, says so, and waits to be stopped.
HOLD = """
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("held", flush=True)
time.sleep(3600)
"""


def make_state(name: str, seed: int = 0) -> TaskState:
    rng = torch.Generator().manual_seed(seed)
    return masked_state(name, (0, 1), (50,), Mask.pack({"w": torch.rand(60, 50, generator=rng) < 0.1}))


def bytes_of(folder: Path) -> dict[str, bytes]:
    files = (f for f in sorted(folder.rglob("*")) if f.is_file() and f.name != ".lock")
    return {str(f.relative_to(folder)): f.read_bytes() for f in files}


@pytest.fixture
def folder(tmp_path: Path) -> BankFolder:
    """A bank of one task."""
    made = BankFolder(tmp_path / "bank", wait=0.2)
    made.create(HEADER)
    made.append(make_state("one"))
    return made


@pytest.fixture
def together(tmp_path: Path) -> Callable[..., list[tuple[int, int, str]]]:
    """Append from several processes, started by writers.py: `together(processes, each, names, wait)`."""

    def run(processes: int, each: int, names: str, wait: float = 60.0) -> list[tuple[int, int, str]]:
        arguments = ["write_together", tmp_path / "bank", processes, each, names, wait]
        command = [sys.executable, Path(__file__).with_name("writers.py"), *map(str, arguments)]
        done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        attempts: list[Any] = json.loads(done.stdout)
        return [(process, number, outcome) for process, number, outcome in attempts]

    return run


@pytest.fixture
def holder(folder: BankFolder) -> Iterator[subprocess.Popen[str]]:
    """Another program that holds the lock of the bank."""
    command = [sys.executable, "-c", HOLD, str(folder.path / "bank.sqlite")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


@pytest.mark.parametrize("processes", [2, pytest.param(4, marks=pytest.mark.nightly)])
def test_processes_that_append_at_once_lose_nothing(
    together: Callable[..., list[tuple[int, int, str]]], tmp_path: Path, processes: int
) -> None:
    each = 200 // processes
    attempts = together(processes, each, "own")
    assert Counter(outcome for *_, outcome in attempts) == {"there": 200}
    folder = BankFolder(tmp_path / "bank")
    assert folder.verify() == []
    bank = folder.open()
    assert Counter(bank.names) == {f"task {1000 * p + n}": 1 for p in range(processes) for n in range(each)}
    assert all(bank[f"task {number}"].classes == (number,) for _, number, _ in attempts)
    # The tasks of each process are in its order.
    for process in range(processes):
        own = [name for name in bank.names if int(name.removeprefix("task ")) // 1000 == process]
        assert own == [f"task {1000 * process + n}" for n in range(each)]


def test_without_waiting_the_lock_is_refused_or_given(
    together: Callable[..., list[tuple[int, int, str]]], tmp_path: Path
) -> None:
    attempts = together(4, 50, "own", 0.0)
    assert len(attempts) == 200
    assert {outcome for *_, outcome in attempts} <= {"there", "BankBusyError"}
    served = {f"task {number}" for _, number, outcome in attempts if outcome == "there"}
    folder = BankFolder(tmp_path / "bank")
    assert set(folder.open().names) == served
    assert len(folder.open()) == len(served) > 0
    assert folder.verify() == []


def test_of_one_name_one_process_wins(together: Callable[..., list[tuple[int, int, str]]], tmp_path: Path) -> None:
    attempts = together(3, 20, "same")
    for number in range(20):
        outcomes = sorted(outcome for _, n, outcome in attempts if n == number)
        assert outcomes == ["DuplicateTaskError", "DuplicateTaskError", "there"]
    folder = BankFolder(tmp_path / "bank")
    assert sorted(folder.open().names) == sorted(f"task {n}" for n in range(20))
    assert folder.verify() == []


def test_of_tasks_that_own_weights_of_the_base_only_the_first_is_taken(
    together: Callable[..., list[tuple[int, int, str]]], tmp_path: Path
) -> None:
    """The others were learned over weights that are no longer the last ones."""
    attempts = together(3, 1, "owning")
    assert sorted(outcome for *_, outcome in attempts) == ["MaskError", "MaskError", "there"]
    folder = BankFolder(tmp_path / "bank")
    ((_, winner, _),) = [attempt for attempt in attempts if attempt[2] == "there"]
    assert folder.open().names == folder.open().owners == [f"task {winner}"]
    assert folder.verify() == []


def test_a_lock_that_another_program_holds_is_respected(folder: BankFolder, holder: subprocess.Popen[str]) -> None:
    before = bytes_of(folder.path)
    bank = folder.read()
    bank.add(make_state("two"))
    for write in (
        lambda: folder.append(make_state("two")),
        lambda: folder.save(bank),
        lambda: folder.rename("one", "other"),
        lambda: folder.remove("one"),
        lambda: folder.repair(),
    ):
        with pytest.raises(BankBusyError, match="another process"):
            write()
    assert bytes_of(folder.path) == before
    assert holder.poll() is None
    # Reading needs no lock.
    assert folder.read().names == ["one"]
    assert folder.verify() == []


def test_the_lock_of_a_killed_process_is_lifted(folder: BankFolder, holder: subprocess.Popen[str]) -> None:
    with pytest.raises(BankBusyError):
        folder.append(make_state("two"))
    holder.kill()
    holder.wait()
    folder.append(make_state("two"))
    assert folder.read().names == ["one", "two"]


def test_waiting_long_enough_gets_the_lock(folder: BankFolder, holder: subprocess.Popen[str]) -> None:
    patient = BankFolder(folder.path, wait=3600)
    waiting = threading.Thread(target=lambda: patient.append(make_state("two")))
    waiting.start()
    waiting.join(0.3)
    assert waiting.is_alive()
    assert folder.open().names == ["one"]
    holder.kill()
    waiting.join()
    assert folder.open().names == ["one", "two"]


@pytest.mark.parametrize("shared", [True, False])
def test_threads_of_one_process_lose_nothing(tmp_path: Path, shared: bool) -> None:
    common = BankFolder(tmp_path / "bank")
    common.create(HEADER)
    failed: list[BaseException] = []

    def work(thread: int) -> None:
        own = common if shared else BankFolder(common.path)
        try:
            for n in range(5):
                own.append(make_state(f"{thread} {n}", n))
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert Counter(common.read().names) == {f"{thread} {n}": 1 for thread in range(4) for n in range(5)}


def test_a_refused_change_can_be_tried_again(folder: BankFolder) -> None:
    """A task over weights that others left meanwhile is refused whole: no file of it stays, and others can follow."""
    before = bytes_of(folder.path)
    state = make_state("two")
    with pytest.raises(MaskError, match="tasks were added meanwhile"):
        folder.append(masked_state("two", (0,), (50,), state.mask, over="1" * 64))
    assert bytes_of(folder.path) == before
    folder.append(state)
    assert folder.read().names == ["one", "two"]


FORK = """
import os, sys
import torch
from supermasks import BankFolder
from supermasks.changes import Unchanged
from supermasks.state import TaskState
from supermasks.task_info import TaskInfo

def state(name):
    return TaskState(TaskInfo(name, (0,), (50,)), {"w": Unchanged((60, 50))})

folder = BankFolder(sys.argv[1])
folder.append(state("two"))
process = os.fork()
if not process:
    try:
        folder.append(state("three"))
        os._exit(0)
    finally:
        os._exit(1)
print(os.waitpid(process, 0)[1], *folder.open().names)
"""


def test_a_folder_that_was_written_to_can_be_used_by_a_fork(folder: BankFolder, elsewhere: Callable[..., str]) -> None:
    assert elsewhere(FORK, folder.path) == "0 one two three"


def test_a_folder_that_was_written_to_can_be_pickled(folder: BankFolder) -> None:
    copied = pickle.loads(pickle.dumps(folder))
    assert (copied.path, copied.relative, copied.wait) == (folder.path, folder.relative, folder.wait)
    copied.append(make_state("two"))
    assert folder.open().names == ["one", "two"]
