"""The demo: on the embedded images, learn permuted tasks, recognise them, and compare with forgetting."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from supermasks.experiments.presets.permuted_mnist import SUPSUP
from supermasks.experiments.running.record import read_json, write_json, write_record
from supermasks.experiments.running.run import run
from supermasks.experiments.running.sequential import train_sequentially
from supermasks.experiments.running.watcher import Silent, Watcher
from supermasks.experiments.tasks.permuted import PermutedMNIST
from supermasks.metrics import average_accuracy, forgetting
from supermasks.training import RMSprop, Training

SEQUENTIAL = "sequential.json"
DEMO = replace(
    SUPSUP, tasks=PermutedMNIST(dataset="sample", tasks=10), training=Training(steps=500, optimiser=RMSprop(2e-4))
)
"""Ten permutations of 10,000 real digits; half of the paper's steps at twice its learning rate, to take a minute."""


def run_demo(out: Path, watcher: Watcher | None = None) -> dict[str, Any]:
    """Run the demo into a folder, and return its record; the sequential network is added to it as a baseline.

    Its settings are always the same, so that a demo in the folder, stopped or finished, is resumed.

    Args:
        out: the folder.
        watcher: is told how far the demo is.

    Raises:
        RunStateError: the folder holds another run.
    """
    watcher = watcher or Silent()
    finished = run(DEMO, out, resume=True, watcher=watcher, command=["supermasks", "demo"])
    if not (out / SEQUENTIAL).exists():
        watcher.begin("the same tasks without masks", len(finished.tasks))
        matrix = train_sequentially(finished.learner, finished.tasks, watcher.step, watcher.advance)
        numbers = [[float("nan") if a is None else a for a in row] for row in matrix]
        result = {"matrix": matrix, "mean": average_accuracy(numbers), "forgetting": forgetting(numbers)}
        write_json(out / SEQUENTIAL, result)
    finished.record["baselines"]["sequential"] = read_json(out / SEQUENTIAL)
    write_record(out, finished.record)
    return finished.record
