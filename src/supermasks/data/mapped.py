"""A stream with the tasks of another one, each passed through a function."""

from collections.abc import Callable
from dataclasses import dataclass

from supermasks.data.lazy import LazyStream
from supermasks.types import Task, TaskStream


@dataclass(frozen=True, eq=False)
class MappedStream(LazyStream):
    """The tasks of `stream`, each passed through `function` when it is asked for.

    Example:
        >>> from functools import partial
        >>> from supermasks.data import SplitStream, limited, with_validation
        >>> from supermasks.datasets import load_source
        >>> few = MappedStream(SplitStream(load_source("sample")), partial(limited, train=1000))
        >>> task = MappedStream(few, with_validation)[0]
        >>> len(task.train), len(task.validation)
        (900, 100)
    """

    stream: TaskStream
    function: Callable[[Task], Task]

    def __len__(self) -> int:
        return len(self.stream)

    def make(self, index: int) -> Task:
        """Make the task at `index`."""
        return self.function(self.stream[index])
