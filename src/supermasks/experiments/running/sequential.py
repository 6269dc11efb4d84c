"""One ordinary network that is trained on all tasks in turn: what forgetting looks like."""

from collections.abc import Callable
from math import prod
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from supermasks.experiments.experiment import Experiment
from supermasks.experiments.running.measures import accuracies
from supermasks.experiments.running.watcher import Watcher
from supermasks.learner import Learner
from supermasks.methods import Learned, Lesson, Session, initial_head
from supermasks.scores import Past
from supermasks.training import Listeners, Progress, fit
from supermasks.types import Task, TaskStream


def run_sequentially(
    experiment: Experiment, learner: Learner, tasks: TaskStream, out: Path, watcher: Watcher, where: object
) -> dict[str, Any]:
    """Train one network on all tasks in turn, and return what a record says of that.

    There is no bank, and a run that was stopped begins anew.
    """
    del experiment, out, where
    start = perf_counter()
    watcher.begin("training on", len(tasks))
    matrix = train_sequentially(learner, tasks, watcher.step, watcher.advance)
    network = learner.network
    shared = 4 * sum(weight.numel() for weight in network.weights.values())
    heads = 4 * sum(prod(shape) for task in tasks for shape in network.head_shapes(len(task.classes)).values())
    norm = sum(buffer.numel() * buffer.element_size() for buffer in network.fresh_buffers().values())
    sizes = {"total": shared + heads + norm, "masks": 0, "owned": 0, "dense": shared + heads, "norm": norm, "other": 0}
    return {
        "method": "sequential",
        "accuracy": accuracies([[entry for entry in row if entry is not None] for row in matrix], []),
        "task_identification": None,
        "evaluations": [],
        "baselines": {},
        "bytes": {**sizes, "memory": 0, "trunk": 0, "packed": 0, "entropy_bound": 0.0, "paper": shared + heads + norm},
        "seconds": {"train": perf_counter() - start, "infer": 0, "evaluate": 0},
    }


def train_sequentially(
    learner: Learner,
    tasks: TaskStream,
    progress: Progress | None = None,
    done: Callable[[str], None] | None = None,
) -> list[list[float | None]]:
    """Train all weights of the learner's backbone on each task in turn, and return the matrix of accuracies.

    Backbone, initial weights, optimiser, steps and order of data are those of the learner, which is not changed.
    This is SupSup's "lower bound" (Section 4.1). All tasks share the head, or each has its own where the network has
    a head.

    Args:
        learner: gives backbone, weights, and how to train.
        tasks: in the order of training.
        progress: called after each step.
        done: called with the name of each task that is done.

    Returns:
        `tasks x tasks`: row `i` holds the accuracies on each task after training on task `i`; None above the diagonal.
    """
    network = learner.network
    weights = {name: weight.clone().requires_grad_() for name, weight in network.weights.items()}
    buffers, heads = network.fresh_buffers(), list[dict[str, Tensor]]()
    matrix: list[list[float | None]] = []
    for i, task in enumerate(tasks):
        lesson = Lesson(network, task, learner.seed, Past())
        session = _Turn(lesson, initial_head(lesson))
        heads.append(dict(session.parameters))
        session.parameters, session.buffers = {**weights, **heads[i]}, buffers
        fit(session, learner.training, Listeners(progress))
        row = [_accuracy(learner, {**weights, **heads[j], **buffers}, tasks[j]) for j in range(i + 1)]
        matrix.append([*row, *[None] * (len(tasks) - i - 1)])
        if done is not None:
            done(task.name)
    return matrix


class _Turn(Session):
    """One task in turn."""

    def effective(self) -> dict[str, Tensor]:
        return {**self.parameters, **self.buffers}

    def finish(self) -> Learned:
        raise NotImplementedError("nothing is kept of the task")


def _accuracy(learner: Learner, effective: dict[str, Tensor], task: Task) -> float | None:
    if task.test is None:
        return None
    with torch.no_grad():
        right = sum(
            int((learner.network.forward(inputs, effective).argmax(dim=1).cpu() == targets).sum())
            for inputs, targets in task.test.batches(1000)
        )
    return right / len(task.test)
