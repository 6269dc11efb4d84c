"""What a record says of the learned tasks: accuracies, overlap, bytes, and how easily they are told apart."""

from itertools import islice
from typing import Any

import numpy as np

from supermasks.bank import BankFolder
from supermasks.data import limited
from supermasks.evaluation import shuffled
from supermasks.experiments.evaluations import FEW_TASKS
from supermasks.experiments.running.recognition import judged_examples
from supermasks.experiments.ways.trunk import TRUNK
from supermasks.masks import Mask, sparse_overlap, total_overlap
from supermasks.metrics import (
    MeanInputRouter,
    accuracy_so_far,
    average_accuracy,
    backward_transfer,
    forgetting,
    mean_input,
)
from supermasks.types import TaskStream


def accuracies(rows: list[list[float]], evaluations: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the accuracies of a record: of the first evaluation, or with the task given where there is none.

    Args:
        rows: after each task, the accuracies of the last tasks up to it.
        evaluations: with the task inferred.
    """
    numbers = np.full((len(rows), len(rows)), np.nan)
    for i, row in enumerate(rows):
        numbers[i, i + 1 - len(row) : i + 1] = row
    matrix = [[*row, *[None] * (len(rows) - len(row))] for row in rows]
    complete = all(len(row) == i + 1 for i, row in enumerate(rows))
    given = average_accuracy(numbers)
    return {
        "mean": evaluations[0]["accuracy"] if evaluations else given,
        "per_task": evaluations[0]["per_task"] if evaluations else rows[-1],
        "matrix": matrix if complete else None,
        "task_given": given,
        "given_per_task": rows[-1],
        "so_far": [None if np.isnan(mean) else mean for mean in accuracy_so_far(numbers)],
        "forgetting": forgetting(numbers),
        "backward_transfer": backward_transfer(numbers),
    }


def overlap(masks: list[Mask]) -> dict[str, Any]:
    """Return how far masks share weights: each with those before it, their mean, and all together."""
    sparse = sparse_overlap(masks)
    return {"sparse": sparse, "sparse_mean": sum(sparse) / len(sparse), "total": total_overlap(masks)}


def measure_bytes(folder: BankFolder) -> dict[str, float]:
    """Return what all tasks cost to store, item by item, in bytes.

    "total" is what the files of the bank take on disk: coded masks, weights that tasks have trained in the shared
    network ("owned"), all shared weights where tasks have trained them ("shared"), dense weights, normalisation
    statistics, what a router recognises tasks by ("router"), and other (names, shapes, digests). "memory" is needed
    only to learn further tasks, and "trunk" is what tasks share beside the bank; neither is part of the total.
    "examples" is the part of the memory that holds inputs of earlier tasks. "packed"
    is a bit a masked weight, "entropy_bound" what an ideal code of the masks takes, and "paper" what SupSup counts for
    masks and statistics (Table 2).
    """
    bank, trunk = folder.bytes(), folder.path.parent / TRUNK
    return {
        "total": bank.total,
        "masks": bank.masks,
        "owned": bank.owned,
        "shared": bank.weights,
        "dense": bank.dense,
        "norm": bank.norm,
        "router": bank.router + bank.moments,
        "other": bank.names + bank.manifest + bank.kept,
        "memory": bank.memory,
        "examples": bank.examples,
        "trunk": trunk.stat().st_size if trunk.exists() else 0,
        "packed": bank.packed,
        "entropy_bound": bank.entropy_bound,
        "paper": bank.paper,
    }


def mean_input_router(tasks: TaskStream, seed: int) -> dict[str, float]:
    """Return how often the nearest mean training input is that of the right task: by one input, and by 128 together."""
    few = len(tasks) > FEW_TASKS  # of many tasks, some images of each say enough
    some = (limited(task, min(5000, len(task.train))) if few else task for task in tasks)
    router = MeanInputRouter([mean_input(task.train) for task in some])
    single = batches = found_single = found_batches = 0
    for index in range(len(tasks)):
        # The batches are those that a task inference is scored on.
        mixed = shuffled(judged_examples(tasks, index), tasks[index].name, seed)
        for inputs, _ in islice(mixed.batches(128), 10 if few else None):
            single += len(inputs)
            found_single += int((router.route(inputs) == index).sum())
            batches += 1
            found_batches += int(router.route(inputs.mean(dim=0, keepdim=True)) == index)
    return {"each_input": found_single / single, "full_batch": found_batches / batches}
