"""Tasks with fewer training examples."""

from dataclasses import replace

from supermasks.data.lazy import check_count
from supermasks.data.subset import subset
from supermasks.errors import ConfigError
from supermasks.seeding import generator
from supermasks.types import Task


def limited(task: Task, train: int = 5000, seed: int = 0) -> Task:
    """Return the task with `train` of its training examples, chosen at random.

    The choice depends on the seed and on the name of the task alone.

    Raises:
        ConfigError: `train` is not a positive integer or exceeds the number of examples, or the seed is invalid.

    Example:
        >>> from supermasks.data import SplitStream
        >>> from supermasks.datasets import load_source
        >>> task = SplitStream(load_source("sample"))[0]
        >>> len(task.train), len(limited(task, train=100).train)
        (2111, 100)
    """
    check_count("the number of training examples", train)
    if train > len(task.train):
        raise ConfigError(
            f"the number of training examples must be at most {len(task.train)}, which task {task.name!r} has, got "
            f"{train}; pass a smaller number, or use the task as it is"
        )
    return replace(
        task, train=subset(task.train, generator(seed, "limit", task.name).permutation(len(task.train))[:train])
    )
