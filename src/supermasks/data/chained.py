"""A stream with the tasks of several streams, one stream after the other."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from supermasks.data.lazy import LazyStream
from supermasks.errors import ConfigError
from supermasks.types import Task, TaskStream


@dataclass(frozen=True, eq=False)
class ChainedStream(LazyStream):
    """The tasks of several streams, one stream after the other; each task is named `prefix-name`.

    Attributes:
        streams: each with the prefix of its tasks. A stream may be empty.

    Raises:
        ConfigError: there is no task, two tasks have the same name, or the inputs differ in shape or type.

    Example:
        >>> from supermasks.data import PermutedStream, SplitStream
        >>> from supermasks.datasets import load_source
        >>> source = load_source("sample")
        >>> both = ChainedStream([("some", SplitStream(source)), ("all", PermutedStream(source, tasks=3))])
        >>> len(both), both[0].name, both[-1].name
        (8, 'some-split-0-1', 'all-permuted-0002')
    """

    streams: Sequence[tuple[str, TaskStream]]

    def __post_init__(self) -> None:
        firsts = {prefix: stream[0].train for prefix, stream in self.streams if len(stream)}
        if not firsts:
            raise ConfigError(f"expected streams with at least one task, got {len(self.streams)} without any")
        forms = {prefix: (first.shape, first.dtype) for prefix, first in firsts.items()}
        if len(set(forms.values())) > 1:
            words = ", ".join(f"{shape} {dtype} in {prefix!r}" for prefix, (shape, dtype) in forms.items())
            raise ConfigError(f"expected inputs of one shape and type in all streams, got {words}; convert them first")
        names = set[str]()
        for task in self:
            if task.name in names:
                raise ConfigError(f"expected tasks with different names, got {task.name!r} twice; use other prefixes")
            names.add(task.name)

    def __len__(self) -> int:
        return sum(len(stream) for _, stream in self.streams)

    def make(self, index: int) -> Task:
        """Make the task at `index`."""
        for prefix, stream in self.streams:
            if index < len(stream):
                task = stream[index]
                return replace(task, name=f"{prefix}-{task.name}")
            index -= len(stream)
        raise AssertionError("the index lies within the streams")
