"""What forgetting looks like: one ordinary network whose weights are trained on one task after the other."""

from collections.abc import Callable

import torch

from supermasks.learner import Learner
from supermasks.methods import Trainable
from supermasks.training import Progress, fit
from supermasks.types import Examples, TaskStream


def train_sequentially(
    learner: Learner,
    tasks: TaskStream,
    progress: Progress | None = None,
    done: Callable[[str], None] | None = None,
) -> list[list[float | None]]:
    """Train all weights of the learner's backbone on each task in turn, and return the matrix of accuracies.

    Same backbone, initial weights, optimiser, steps and order of data as the learner has; the learner is not changed.
    This is SupSup's "lower bound" with one shared head.

    Args:
        learner: gives backbone, weights, and how to train.
        tasks: in the order of training.
        progress: called after each step.
        done: called with the name of each task that is done.

    Returns:
        `tasks x tasks`: row `i` holds the accuracies on each task after training on task `i`, the task being
        irrelevant, since there is one network; None above the diagonal.
    """
    network = learner.network
    weights = {name: weight.clone().requires_grad_() for name, weight in network.weights.items()}
    trainable = Trainable(weights, network.fresh_buffers())
    effective = {**weights, **trainable.buffers}
    matrix: list[list[float | None]] = []
    for i, task in enumerate(tasks):
        fit(network, trainable, lambda: effective, task, learner.training, learner.seed, progress=progress)
        row = [_accuracy(learner, effective, tasks[j].test) for j in range(i + 1)]
        matrix.append([*row, *[None] * (len(tasks) - i - 1)])
        if done is not None:
            done(task.name)
    return matrix


def _accuracy(learner: Learner, effective: dict[str, torch.Tensor], examples: Examples | None) -> float | None:
    if examples is None:
        return None
    with torch.no_grad():
        right = sum(
            int((learner.network.forward(inputs, effective).argmax(dim=1).cpu() == targets).sum())
            for inputs, targets in examples.batches(1000)
        )
    return right / len(examples)
