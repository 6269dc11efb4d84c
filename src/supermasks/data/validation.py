"""Set a part of the training examples aside for validation."""

from dataclasses import replace
from numbers import Real

import numpy as np
from numpy.typing import NDArray

from supermasks.data.gather import unwrapped
from supermasks.data.subset import subset
from supermasks.errors import ConfigError, TaskError
from supermasks.seeding import generator
from supermasks.types import Task


def with_validation(task: Task, fraction: float = 0.1, seed: int = 0) -> Task:
    """Return the task with a random part of its training examples as its validation examples.

    Both parts share the inputs of the task and have at least one example. The choice depends on the seed and on the
    name of the task alone.

    Args:
        task: without validation examples, with at least two training examples.
        fraction: of the training examples to set aside, above 0 and below 1.
        seed: for the choice.

    Raises:
        ConfigError: the fraction or the seed is invalid.
        TaskError: the task has validation examples already, or fewer than two training examples.

    Example:
        >>> from supermasks.data import make_task
        >>> task = with_validation(make_task("it", ([[0.0], [1.0], [2.0], [3.0]], [0, 1, 0, 1])), fraction=0.25)
        >>> len(task.train), len(task.validation)
        (3, 1)
    """
    return parted(task, fraction, generator(seed, "validation", task.name).permutation(len(task.train)))


def parted(task: Task, fraction: float, order: NDArray[np.integer]) -> Task:
    """Return the task with the first of its training examples, in some order, as its validation examples.

    Args:
        task: without validation examples, with at least two training examples.
        fraction: of the training examples to set aside, above 0 and below 1.
        order: the numbers of all training examples.

    Raises:
        ConfigError: the fraction is invalid.
        TaskError: the task has validation examples already, or fewer than two training examples.
    """
    share = unwrapped(fraction)
    if isinstance(share, bool) or not isinstance(share, Real) or not 0 < float(share) < 1:
        raise ConfigError(
            f"the fraction of the training examples to set aside must lie above 0 and below 1, got {fraction!r}; pass "
            "for example 0.1"
        )
    if task.validation is not None:
        raise TaskError(f"task {task.name!r} already has validation examples; pass a task without")
    count = len(task.train)
    if count < 2:
        raise TaskError(f"task {task.name!r} has 1 training example, so none can be set aside; pass more")
    held = min(max(1, round(float(share) * count)), count - 1)
    return replace(task, train=subset(task.train, order[held:]), validation=subset(task.train, order[:held]))
