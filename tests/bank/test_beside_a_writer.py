"""Reading while another process writes: a bank that is sound is never called broken."""

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import supermasks
from supermasks import BankFolder
from supermasks.bank import forms
from supermasks.bank.reader import BankReader
from supermasks.cli import main
from supermasks.errors import BankBusyError, BankFormatError
from supermasks.state import TaskState

Make = Callable[..., TaskState]

ASKS: dict[str, Callable[[BankFolder], object]] = {
    "verify": lambda folder: folder.verify() == [],
    "read": lambda folder: len(folder.read()) > 0,
    "bytes": lambda folder: folder.bytes().total > 0,
    "sizes": lambda folder: sum(folder.sizes().values()) > 0,
    "task_sizes": lambda folder: len(folder.task_sizes()) > 0,
    "open": lambda folder: len(folder.open()) > 0,
}
CHANGES: dict[str, Callable[[BankFolder, Make], object]] = {
    "remove": lambda folder, make: folder.remove("b"),
    "remove one that others need": lambda folder, make: folder.remove("a"),
    "another memory": lambda folder, make: folder.append(make("e", 4), {"mean": make("e").mask["w"].float()}),
    "overwrite": lambda folder, make: folder.save(folder.open().subset(["c"]), overwrite=True),
}


def change_after_each_opening(
    monkeypatch: pytest.MonkeyPatch, change: Callable[[BankReader], object], most: int
) -> None:
    """Change a bank right after it was opened to be read, up to so many times."""
    opened, changes = forms.open_bank, 0

    def changing(path: Path, wait: float) -> BankReader:
        nonlocal changes
        bank, changes = opened(path, wait), changes + 1
        if changes <= most:
            with monkeypatch.context() as patch:
                patch.setattr(forms, "open_bank", opened)
                change(bank)
        return bank

    monkeypatch.setattr(forms, "open_bank", changing)


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("ask", ASKS)
def test_a_change_between_the_manifest_and_the_files(
    saved: BankFolder, make_state: Make, monkeypatch: pytest.MonkeyPatch, change: str, ask: str
) -> None:
    change_after_each_opening(monkeypatch, lambda _: CHANGES[change](BankFolder(saved.path), make_state), most=1)
    assert ASKS[ask](saved)


@pytest.mark.parametrize("ask", ["verify", "read", "bytes", "sizes", "task_sizes"])
def test_a_bank_that_changes_all_the_time_is_read_in_one_transaction(
    saved: BankFolder, make_state: Make, monkeypatch: pytest.MonkeyPatch, ask: str
) -> None:
    """Without one, there is always a task missing by the time that it is read."""

    def change(bank: BankReader) -> None:
        name = next(iter(bank.entries))
        BankFolder(saved.path).append(make_state(f"{name}+", 1))
        BankFolder(saved.path).remove(name)

    change_after_each_opening(monkeypatch, change, most=1)
    assert ASKS[ask](saved)


@pytest.mark.parametrize("file", ["tasks/000002.safetensors", "memory-000004.safetensors"])
def test_what_is_broken_is_still_called_broken(shared: BankFolder, file: str) -> None:
    (shared.path / file).unlink()
    assert shared.verify()[0].file == file
    for ask in (shared.read, shared.bytes, shared.sizes):
        with pytest.raises(BankFormatError, match=Path(file).name):
            ask()


WRITER = """
import sys
from dataclasses import replace
import supermasks as sm
folder = sm.BankFolder(sys.argv[1])
state = folder.open()["a"]
print("ready", flush=True)
for number in range(10**6):
    folder.append(state.renamed(f"x{number}"), {"mean": state.mask["w"].float() + number})
    if number:
        folder.remove(f"x{number - 1}")
"""


@pytest.fixture
def writer(saved: BankFolder) -> Iterator[subprocess.Popen[str]]:
    """A process that appends and removes tasks, and changes what is remembered, without a pause."""
    command = [sys.executable, "-c", WRITER, str(saved.path)]
    path = str(Path(supermasks.__file__).parents[1])
    environment = {"PYTHONPATH": path, "PATH": "", "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        yield process
        process.kill()


def test_every_question_works_beside_a_writer(
    saved: BankFolder, writer: subprocess.Popen[str], capsys: pytest.CaptureFixture[Any]
) -> None:
    end, done = time.monotonic() + 2.5, 0
    while time.monotonic() < end or done < len(ASKS):
        for ask in ASKS.values():
            with suppress(BankBusyError):
                assert ask(saved)
                done += 1
    assert writer.poll() is None
    assert main(["inspect", str(saved.path)]) == 0 or "open the bank again" in capsys.readouterr().err
    writer.kill()
    writer.wait()
    assert saved.verify() == []
    shutil.rmtree(saved.path)
