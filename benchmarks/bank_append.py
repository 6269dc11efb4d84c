"""What one more task costs, and what opening costs, in banks of 100 to 100,000 tiny tasks.

    append    BankFolder.append: when it returns, the task is safe
    sqlite    the same bytes into one table of SQLite, with its default settings, in a transaction
    lmdb      the same bytes into LMDB, in a transaction (if lmdb is installed)
    open      BankFolder.open in a process of its own: seconds, and memory that it takes

The three are measured in turn, so that the disk is the same for all.

    python benchmarks/bank_append.py [--rounds 21] [--tasks 100 1000 10000 100000] [--folder WHERE]

The claims: append is the same within a factor of 2 for all sizes, and takes at most twice the time of sqlite. 100,000
tasks are opened in at most 50 ms and 50 MB.
"""

import argparse
import gc
import importlib.util
import json
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from supermasks import BankFolder
from supermasks.bank import BankHeader
from supermasks.bank.database import file_of
from supermasks.bank.forms import create_living
from supermasks.bank.reader import TaskEntry
from supermasks.changes import Masked
from supermasks.encoding import encode_state
from supermasks.masks import Mask
from supermasks.state import TaskState
from supermasks.task_info import TaskInfo

SHAPES = {"w": (64,)}
HEADER = BankHeader({"type": "Some"}, "0" * 64, SHAPES, {})


def state(name: str) -> TaskState:
    mask = Mask.pack({"w": torch.arange(64) % 3 == 0})
    return TaskState(TaskInfo(name, (0, 1), (3,)), Masked.of(mask))


def make(path: Path, tasks: int) -> BankFolder:
    content = encode_state(state("any"), HEADER.layout)[0]

    def entries() -> Iterator[tuple[TaskEntry, bytes]]:
        for number in range(tasks):
            yield TaskEntry(file_of(number), "", f"task {number}"), content

    path.mkdir(parents=True)
    create_living(path, 60.0, HEADER, {}, entries())
    return BankFolder(path)


def bare_sqlite(path: Path, tasks: int, content: bytes) -> Callable[[str], None]:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("CREATE TABLE tasks (id INTEGER PRIMARY KEY, name TEXT UNIQUE, content BLOB)")
    connection.execute("BEGIN")
    connection.executemany(
        "INSERT INTO tasks (name, content) VALUES (?, ?)", ((f"task {number}", content) for number in range(tasks))
    )
    connection.execute("COMMIT")

    def append(name: str) -> None:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT INTO tasks (name, content) VALUES (?, ?)", (name, content))
        connection.execute("COMMIT")

    return append


def bare_lmdb(path: Path, tasks: int, content: bytes) -> Callable[[str], None]:
    import lmdb  # pyright: ignore[reportMissingImports]

    environment: Any = lmdb.open(str(path), map_size=1 << 30)
    with environment.begin(write=True) as transaction:
        for number in range(tasks):
            transaction.put(f"task {number}".encode(), content)

    def append(name: str) -> None:
        with environment.begin(write=True) as transaction:
            transaction.put(name.encode(), content)

    return append


def measured(where: Path, tasks: int, rounds: int) -> dict[str, float]:
    """Return the median seconds of an append to each of the stores."""
    content = encode_state(state("any"), HEADER.layout)[0]
    folder = make(where / f"bank {tasks}", tasks)
    ways: dict[str, Callable[[str], None]] = {
        "append": lambda name: folder.append(state(name)),
        "sqlite": bare_sqlite(where / f"bare {tasks}.sqlite", tasks, content),
    }
    if importlib.util.find_spec("lmdb") is not None:
        ways["lmdb"] = bare_lmdb(where / f"lmdb {tasks}", tasks, content)
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(rounds):
        for way, append in ways.items():
            start = perf_counter()
            append(f"more {number}")
            seconds[way].append(perf_counter() - start)
    assert len(folder.open()) == tasks + rounds
    return {way: statistics.median(taken) for way, taken in seconds.items()}


def resident() -> int:
    """Return the bytes of memory that this process has now (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def opened(path: Path) -> None:
    """Print the seconds and the bytes of memory that opening a bank takes, as JSON."""
    with tempfile.TemporaryDirectory() as small:  # what is loaded once, by any use of the library
        make(Path(small) / "bank", 2).open()
    gc.collect()
    before, start = resident(), perf_counter()
    bank = BankFolder(path).open()
    assert "task 77" in bank
    assert bank["task 77"].classes == (0, 1)
    seconds = perf_counter() - start
    memory = resident() - before
    start = perf_counter()
    names = bank.names
    print(json.dumps({"seconds": seconds, "memory": memory, "tasks": len(bank), "names": perf_counter() - start}))
    assert len(names) == len(bank)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--tasks", type=int, nargs="+", default=[100, 1000, 10_000, 100_000])
    parser.add_argument("--folder", type=Path, help="where to make the banks; by default a folder that is removed")
    parser.add_argument("--open", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.open is not None:
        opened(options.open)
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as where:
        appends = dict[int, float]()
        for tasks in options.tasks:
            found = measured(Path(where), tasks, options.rounds)
            appends[tasks] = found["append"]
            shown = ", ".join(f"{way} {1000 * seconds:.1f} ms" for way, seconds in found.items())
            print(f"{tasks:7,} tasks: {shown}; append / sqlite {found['append'] / found['sqlite']:.2f}", flush=True)
        print(f"append, longest / shortest: {max(appends.values()) / min(appends.values()):.2f}")
        command = [sys.executable, __file__, "--open", str(Path(where) / f"bank {options.tasks[-1]}")]
        done = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        print(
            f"open {done['tasks']:,} tasks and read one: {1000 * done['seconds']:.1f} ms, "
            f"{done['memory'] / 1e6:.1f} MB; all names: {1000 * done['names']:.0f} ms"
        )


if __name__ == "__main__":
    main()
