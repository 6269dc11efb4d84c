"""What forgetting looks like: one ordinary network whose weights are trained on one task after the other."""

from collections.abc import Callable

import torch
from torch import Tensor

from supermasks.learner import Learner
from supermasks.methods import Trainable
from supermasks.methods.method import initial_head, trainable_on
from supermasks.training import Progress, fit
from supermasks.types import Task, TaskStream


def train_sequentially(
    learner: Learner,
    tasks: TaskStream,
    progress: Progress | None = None,
    done: Callable[[str], None] | None = None,
) -> list[list[float | None]]:
    """Train all weights of the learner's backbone on each task in turn, and return the matrix of accuracies.

    Same backbone, initial weights, optimiser, steps and order of data as the learner has; the learner is not changed.
    This is SupSup's "lower bound": one trunk that is trained on and on; all tasks share its head, or each has its own
    where the network has a head (Section 4.1).

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
        heads.append(trainable_on(network, initial_head(network, task, learner.seed)).parameters)
        trainable = Trainable({**weights, **heads[i]}, buffers)
        effective = {**trainable.parameters, **buffers}
        fit(network, trainable, lambda now=effective: now, task, learner.training, learner.seed, progress=progress)
        row = [_accuracy(learner, {**weights, **heads[j], **buffers}, tasks[j]) for j in range(i + 1)]
        matrix.append([*row, *[None] * (len(tasks) - i - 1)])
        if done is not None:
            done(task.name)
    return matrix


def _accuracy(learner: Learner, effective: dict[str, Tensor], task: Task) -> float | None:
    if task.test is None:
        return None
    with torch.no_grad():
        right = sum(
            int((learner.network.forward(inputs, effective).argmax(dim=1).cpu() == targets).sum())
            for inputs, targets in task.test.batches(1000)
        )
    return right / len(task.test)
