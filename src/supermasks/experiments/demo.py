"""The demo: on the embedded images, learn permuted tasks, recognise them, and compare with forgetting."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from supermasks.experiments.presets.permuted_mnist import SUPSUP
from supermasks.experiments.running.measures import accuracies
from supermasks.experiments.running.recognition import judged_examples
from supermasks.experiments.running.record import read_json, write_json, write_record
from supermasks.experiments.running.run import Run, run
from supermasks.experiments.running.watcher import Silent, Watcher
from supermasks.experiments.tasks.permuted import PermutedMNIST
from supermasks.learner import Learner
from supermasks.methods.sequential import Sequential
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
        write_json(out / SEQUENTIAL, _without_masks(finished, watcher))
    finished.record["baselines"]["sequential"] = read_json(out / SEQUENTIAL)
    write_record(out, finished.record)
    return finished.record


def _without_masks(finished: Run, watcher: Watcher) -> dict[str, Any]:
    """Train one network on the same tasks in turn, in the same way, and return how much it forgets."""
    masks, tasks = finished.learner, finished.tasks
    learner = Learner(masks.network, seed=masks.seed, method=Sequential(), training=masks.training)
    watcher.begin("the same tasks without masks", len(tasks))
    rows: list[list[float]] = []
    for index, task in enumerate(tasks):
        learner.learn(task, watcher.step)
        rows.append([learner.accuracy(judged_examples(tasks, j), learner.tasks[j]) for j in range(index + 1)])
        watcher.advance(task.name)
    measured = accuracies(rows, [])
    return {"matrix": measured["matrix"], "mean": measured["mean"], "forgetting": measured["forgetting"]}
