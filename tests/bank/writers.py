"""Processes that write into a bank; the tests run this file as a program of its own.

One start imports the library, and every writer is a fork of it. What the writers were told goes through pipes; the
program prints it as JSON, or ends with the traceback of what should not have happened.
"""

import json
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from supermasks import BankFolder
from supermasks.bank import BankHeader
from supermasks.changes import Masked, Replaced
from supermasks.errors import SupermasksError
from supermasks.masks import Mask
from supermasks.owned import Owned
from supermasks.state import TaskState
from supermasks.task_info import TaskInfo

SHAPES = {"w": (60, 50), "v": (7, 3)}
HEADER = BankHeader({"type": "Some"}, "0" * 64, SHAPES, {})


def make_mask(number: int) -> Mask:
    """A mask that differs from that of the number before it in a hundredth of the weights."""
    scores = {name: torch.rand(shape, generator=torch.Generator().manual_seed(1)) for name, shape in SHAPES.items()}
    rng = torch.Generator().manual_seed(1000 + number // 10)
    moved = {name: torch.rand(shape, generator=rng) < 0.01 * (number % 10) for name, shape in SHAPES.items()}
    return Mask.pack({name: (scores[name] < 0.1) ^ moved[name] for name in SHAPES})


def make_state(number: int, size: int = 20_000) -> TaskState:
    head = torch.randn(size, generator=torch.Generator().manual_seed(number))
    return state_of(number, make_mask(number), Replaced(head))


def state_of(number: int, mask: Mask, head: Replaced | None = None) -> TaskState:
    changes = {**Masked.of(mask), **({} if head is None else {"head": head})}
    return TaskState(TaskInfo(f"task {number}", (number,), (50,)), changes)


def make_memory(number: int, size: int = 20_000) -> dict[str, Tensor]:
    return {"mean": torch.full((size,), float(number))}


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
        "write_together": lambda: write_together(
            Path(where), int(arguments[0]), int(arguments[1]), arguments[2], float(arguments[3])
        ),
    }
    print(json.dumps(programs[what]()))
