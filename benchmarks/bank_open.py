"""What it takes to open a bank of thousands of tasks, and to read it whole.

    open    BankFolder.open: the manifest; tasks are read when they are asked for
    read    BankFolder.read: every task, checked against its digest, in packed memory

Each in a process of its own, on a bank of random masks over LeNet 300-100 that is made first (some minutes).

    python benchmarks/bank_open.py [--tasks 2500] [--rounds 3] [--folder KEPT_BETWEEN_RUNS]

The claims, for 2,500 tasks: open takes at most 1/50 of the time of read, and at most 1/20 of its memory.
"""

import argparse
import gc
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

import torch

from supermasks import BankFolder, Network
from supermasks.bank import BankHeader
from supermasks.bases import RandomBase
from supermasks.changes import Masked
from supermasks.masks import Mask
from supermasks.nets import fully_connected
from supermasks.state import TaskState
from supermasks.task_info import TaskInfo


def make(path: Path, tasks: int) -> None:
    network, rng = Network(fully_connected([784, 300, 100, 500]), RandomBase(0)), torch.Generator().manual_seed(0)
    folder = BankFolder(path)
    if not folder.exists():
        folder.create(BankHeader.of(network))
    for n in range(len(folder.open()), tasks):
        mask = Mask.pack({name: torch.rand(shape, generator=rng) < 0.45 for name, shape in network.shapes.items()})
        folder.append(TaskState(TaskInfo(f"permuted-{n:04d}", tuple(range(10)), (1, 28, 28)), Masked.of(mask)))
        if (n + 1) % 500 == 0:
            print(f"{n + 1} tasks made", file=sys.stderr)


def resident() -> int:
    """Return the bytes of memory that this process has now (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def measure(path: Path, way: str) -> None:
    """Print the seconds and the bytes of memory that a way takes, as JSON."""
    with tempfile.TemporaryDirectory() as small:  # what is loaded once, by any use of the library
        make(Path(small) / "bank", 2)
        BankFolder(Path(small) / "bank").read()
    gc.collect()
    before, start = resident(), perf_counter()
    bank = BankFolder(path).open() if way == "open" else BankFolder(path).read()
    seconds = perf_counter() - start
    gc.collect()
    print(json.dumps({"seconds": seconds, "bytes": resident() - before, "tasks": len(bank)}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=2500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--measure", choices=["open", "read"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measure(options.folder, options.measure)
        return
    with tempfile.TemporaryDirectory() as directory:
        folder = options.folder or Path(directory) / "bank"
        make(folder, options.tasks)
        medians: dict[str, tuple[float, float]] = {}
        for way in ("open", "read"):
            rounds: list[dict[str, float]] = []
            for _ in range(options.rounds):
                command = [sys.executable, __file__, "--folder", str(folder), "--measure", way]
                rounds.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
            medians[way] = (
                statistics.median(row["seconds"] for row in rounds),
                statistics.median(row["bytes"] for row in rounds),
            )
            print(f"{way:5} {1000 * medians[way][0]:9.1f} ms {medians[way][1] / 1e6:9.2f} MB")
    (open_seconds, open_bytes), (read_seconds, read_bytes) = medians["open"], medians["read"]
    times, memory = read_seconds / open_seconds, read_bytes / max(open_bytes, 1)
    print(f"read / open: {times:.0f} times as long, {memory:.0f} times the memory")


if __name__ == "__main__":
    main()
