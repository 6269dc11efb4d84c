"""Processes that write into a bank, and are killed; the tests run this file as a program of its own.

One start imports the library, and every writer is a fork of it. What the writers were told goes through pipes; the
program prints it as JSON, or ends with the traceback of what should not have happened.
"""

import json
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from supermasks import BankFolder, MaskBank
from supermasks.bank import BankHeader
from supermasks.changes import Masked, Replaced
from supermasks.errors import SupermasksError
from supermasks.masks import Mask
from supermasks.owned import Owned
from supermasks.state import TaskState
from supermasks.task_info import TaskInfo

SHAPES = {"w": (60, 50), "v": (7, 3)}
HEADER = BankHeader({"type": "Some"}, "0" * 64, SHAPES, {})
ROUND = 10  # kills in one folder, so that banks stay small


def make_mask(number: int) -> Mask:
    """A mask that differs from that of the number before it in a hundredth of the weights."""
    scores = {name: torch.rand(shape, generator=torch.Generator().manual_seed(1)) for name, shape in SHAPES.items()}
    rng = torch.Generator().manual_seed(1000 + number // 10)
    moved = {name: torch.rand(shape, generator=rng) < 0.01 * (number % 10) for name, shape in SHAPES.items()}
    return Mask.pack({name: (scores[name] < 0.1) ^ moved[name] for name in SHAPES})


def make_state(number: int) -> TaskState:
    # Large enough that a kill can come in the middle of its bytes.
    head = torch.randn(20_000, generator=torch.Generator().manual_seed(number))
    return state_of(number, make_mask(number), Replaced(head))


def state_of(number: int, mask: Mask, head: Replaced | None = None) -> TaskState:
    changes = {**Masked.of(mask), **({} if head is None else {"head": head})}
    return TaskState(TaskInfo(f"task {number}", (number,), (50,)), changes)


def make_memory(number: int) -> dict[str, Tensor]:
    return {"mean": torch.full((20_000,), float(number))}


def make_owning(number: int) -> TaskState:
    """A task that owns weights of the base, as if it was the first one that does."""
    mask = make_mask(number)
    zeros = {name: torch.zeros(shape) for name, shape in SHAPES.items()}
    owned = Owned.of(mask, zeros, {name: torch.full((n,), 1.0 + number) for name, n in mask.counts().items()})
    return replace(state_of(number, mask), owned=owned)


def fork(work: Callable[[Callable[[Any], None]], None]) -> tuple[int, int]:
    """Start a process that works, and tells something now and then; return its id, and where to read what it told."""
    reading, writing = os.pipe()
    if process := os.fork():
        os.close(writing)
        return process, reading
    os.close(reading)

    def tell(told: Any) -> None:
        os.write(writing, json.dumps(told).encode() + b"\n")

    try:
        work(tell)
        os._exit(0)
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
    finally:
        os._exit(1)


def end(process: int, reading: int) -> tuple[int, list[Any]]:
    """Wait for the end of a process; return its status, and what it told."""
    with os.fdopen(reading) as stream:
        lines = stream.read().splitlines()
    return os.waitpid(process, 0)[1], [json.loads(line) for line in lines]


def check(folder: BankFolder, numbers: list[int]) -> None:
    """Exactly these tasks are in the bank, whole, and what is remembered is what the last one left."""
    bank = folder.open()
    assert bank.names == [f"task {number}" for number in numbers], (bank.names, numbers)
    assert folder.verify() == []
    for number in numbers:
        state, saved = bank[f"task {number}"], make_state(number)
        assert state.mask == saved.mask
        assert torch.equal(state.changes["head"].value, saved.changes["head"].value)
    if numbers:
        assert torch.equal(bank.memory["mean"], make_memory(numbers[-1])["mean"])


def kill_at_random(path: Path, kills: int, seed: int) -> dict[str, int]:
    """Kill a writer again and again; after each kill the bank has all that the writer was told was there."""
    rng, folder = random.Random(seed), BankFolder(path / "timing")
    folder.create(HEADER)
    begin = time.perf_counter()
    for number in range(5):
        folder.append(make_state(number), make_memory(number))
    one = (time.perf_counter() - begin) / 5
    numbers, found = list[int](), {"kills": 0, "told": 0, "in the middle of a file": 0, "after the task's file": 0}
    for kill in range(kills):
        if kill % ROUND == 0:
            folder, numbers = BankFolder(path / f"bank {kill // ROUND}"), []
            folder.create(HEADER)

        def work(tell: Callable[[Any], None], path: Path = folder.path, first: int = len(numbers)) -> None:
            own = BankFolder(path)
            for number in range(first, first + 1000):
                own.append(make_state(number), make_memory(number))
                tell(number)

        process, reading = fork(work)
        time.sleep(rng.uniform(0, 6 * one))
        os.kill(process, signal.SIGKILL)
        status, told = end(process, reading)
        assert os.WIFSIGNALED(status), "the writer ended by itself"
        numbers += told
        found["kills"] += 1
        found["told"] += len(told)
        found["in the middle of a file"] += any(folder.path.rglob("*.partial"))
        files = {file.name for file in folder.path.glob("tasks/*.safetensors")}
        found["after the task's file"] += len(files) > len(folder.open())
        if len(folder.open()) == len(numbers) + 1:
            numbers.append(len(numbers))  # it was on the disk, but nobody was told yet
        check(folder, numbers)
    return found


def same(folder: BankFolder, bank: MaskBank) -> bool:
    ours = folder.open()
    return (
        ours.names == bank.names
        and all(a.mask == b.mask and a.classes == b.classes for a, b in zip(ours, bank, strict=True))
        and {n: v.tolist() for n, v in ours.memory.items()} == {n: v.tolist() for n, v in bank.memory.items()}
        and {n: v.tolist() for n, v in ours.kept.items()} == {n: v.tolist() for n, v in bank.kept.items()}
    )


def longer(folder: BankFolder) -> MaskBank:
    bank = folder.read()
    for number in (3, 4):
        if f"task {number}" not in bank:
            bank.add(make_state(number))
    bank.memory = make_memory(4)
    return bank


def other_memory(folder: BankFolder) -> MaskBank:
    bank = folder.read()
    bank.memory = make_memory(7)
    return bank


OPERATIONS: dict[str, list[Callable[[BankFolder], None]]] = {
    "append": [lambda folder: folder.append(make_state(3), make_memory(3))],
    "append and remember as before": [lambda folder: folder.append(make_state(3))],
    "save": [lambda folder: folder.save(longer(folder))],
    "save another memory": [lambda folder: folder.save(other_memory(folder))],
    "rename": [lambda folder: folder.rename("task 1", "other")],
    "remove the first": [lambda folder: folder.remove("task 0")],
    "remove one in the middle": [lambda folder: folder.remove("task 1")],
    # What was done before the last operation is done, whenever that one is stopped.
    "append after a removal": [
        lambda folder: folder.remove("task 2"),
        lambda folder: folder.append(make_state(3), make_memory(3)),
    ],
}


def kill_before_each_change(path: Path, operation: str) -> int:
    """Kill a writer before each thing that it does to the disk; return how many there are.

    Between two changes nothing can be seen of the writer, so that these are all the moments there are.
    """
    *earlier, last = OPERATIONS[operation]
    start = BankFolder(path / "start")
    start.create(HEADER, {"kept": torch.arange(3)})
    for number in range(3):
        start.append(make_state(number), make_memory(number))
    assert any(entry["reference"] for entry in json.loads((start.path / "manifest.json").read_text())["tasks"])
    for step in earlier:
        step(start)
    shutil.copytree(start.path, path / "end")
    last(BankFolder(path / "end"))
    # A saved bank may have tasks of which only the first was written.
    banks = [start.read(), BankFolder(path / "end").read()]
    for stop in range(1, 200):
        folder = BankFolder(path / f"stop {stop}")
        shutil.copytree(start.path, folder.path)

        def work(tell: Callable[[Any], None], folder: BankFolder = folder, stop: int = stop) -> None:
            seen = 0

            def hook(event: str, arguments: tuple[Any, ...]) -> None:
                nonlocal seen
                if event == "open":
                    changes = bool((arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR))
                else:
                    changes = event in ("os.rename", "os.remove", "os.mkdir", "os.truncate")
                seen += changes
                if changes and seen == stop:
                    os.kill(os.getpid(), signal.SIGKILL)

            sys.addaudithook(hook)
            last(folder)

        status, _ = end(*fork(work))
        assert os.WIFSIGNALED(status) or status == 0
        assert folder.verify() == [], (operation, stop, folder.verify())
        done = status == 0
        if operation == "save":
            # Task by task: what is remembered comes with the last manifest.
            names = folder.open().names
            assert names == banks[1].names[: len(names)]
            assert len(names) >= len(banks[0])
        else:
            assert same(folder, banks[1]) or (not done and same(folder, banks[0])), (operation, stop)
        if done:
            assert same(folder, banks[1])
            return stop - 1
        # What is left over is in nobody's way.
        if not same(folder, banks[1]):
            last(folder)
        folder.append(make_state(9), make_memory(9))
        assert folder.verify() == []
        assert folder.read().names == [*banks[1].names, "task 9"]
        assert not list(folder.path.rglob("*.partial"))
    raise AssertionError("the writer never ended")


MAKERS = {"own": lambda process, n: 1000 * process + n, "same": lambda _, n: n, "owning": lambda process, _: process}


def write_together(path: Path, processes: int, each: int, names: str, wait: float) -> list[list[Any]]:
    """Append from several processes at once; return, for each attempt, the process, the number and what became of it.

    Args:
        path: of the bank.
        processes: how many.
        each: tasks that each of them appends.
        names: "own", other ones in each process; "same", the same in all; "owning", one a process, that owns weights.
        wait: seconds for the lock.
    """
    BankFolder(path).create(HEADER)
    waiting, starting = os.pipe()

    def work(tell: Callable[[Any], None], process: int) -> None:
        os.close(starting)
        os.read(waiting, 1)  # until all have started
        folder = BankFolder(path, wait=wait)
        for n in range(each):
            number, outcome = MAKERS[names](process, n), "there"
            try:
                folder.append(make_owning(number) if names == "owning" else make_state(number))
            except SupermasksError as error:
                outcome = type(error).__name__
            tell([process, number, outcome])

    started = [fork(lambda tell, process=process: work(tell, process)) for process in range(processes)]
    os.close(starting)
    attempts = list[list[Any]]()
    for process, reading in started:
        status, told = end(process, reading)
        assert status == 0
        attempts += told
    return attempts


if __name__ == "__main__":
    torch.set_num_threads(1)
    what, where, *arguments = sys.argv[1:]
    programs: dict[str, Callable[..., object]] = {
        "kill_at_random": lambda: kill_at_random(Path(where), *map(int, arguments)),
        "kill_before_each_change": lambda: {
            operation: kill_before_each_change(Path(where) / operation, operation) for operation in arguments
        },
        "write_together": lambda: write_together(
            Path(where), int(arguments[0]), int(arguments[1]), arguments[2], float(arguments[3])
        ),
    }
    print(json.dumps(programs[what]()))
