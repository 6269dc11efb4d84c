"""Fewer training examples, to see what little data, or little time, comes to."""

from dataclasses import replace

from supermasks.data.lazy import check_count
from supermasks.data.subset import subset
from supermasks.errors import ConfigError
from supermasks.seeding import generator
from supermasks.types import Task


def limited(task: Task, train: int = 5000, seed: int = 0) -> Task:
    """Return the task with `train` of its training examples, chosen at random; all else is as it was.

    Which are chosen depends on the seed and on the name of the task alone.

    Raises:
        ConfigError: the number is not a positive integer, or above that of the examples, or the seed is none.

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
            f"{train} training examples of task {task.name!r} were asked for, but it has {len(task.train)}; "
            "ask for fewer, or leave the task as it is"
        )
    return replace(
        task, train=subset(task.train, generator(seed, "limit", task.name).permutation(len(task.train))[:train])
    )
