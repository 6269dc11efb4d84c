"""What forgetting looks like: one ordinary network whose weights are trained on one task after the other."""

from collections.abc import Callable

import torch
from torch import Tensor

from supermasks.learner import Learner
from supermasks.methods import Learned, Lesson, Session, initial_head
from supermasks.scores import Past
from supermasks.training import Listeners, Progress, fit
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
