"""Streams: sequences that make a task each time that it is asked for."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

from supermasks.errors import ConfigError
from supermasks.types import Task, TaskStream


class LazyStream(ABC):
    """A sequence that makes its tasks on request and keeps none; it has a length, indices from both ends, iteration."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def make(self, index: int) -> Task:
        """Make the task at `index`, which lies in `0..len(self) - 1`."""

    def __getitem__(self, index: int, /) -> Task:
        length = len(self)
        if not -length <= index < length:
            raise IndexError(f"the index of one of {length} tasks must lie in {-length}..{length - 1}, got {index}")
        return self.make(index % length)

    def __iter__(self) -> Iterator[Task]:
        return (self.make(index) for index in range(len(self)))


@dataclass(frozen=True, eq=False)
class Rest(LazyStream):
    """The tasks of a stream from `start` on.

    Attributes:
        stream: of all tasks.
        start: the index of the first task to keep.
    """

    stream: TaskStream
    start: int

    def __len__(self) -> int:
        return max(0, len(self.stream) - self.start)

    def make(self, index: int) -> Task:
        """Make the task at `index`, counted from `start`."""
        return self.stream[self.start + index]


def check_count(what: str, value: object) -> None:
    """Check that `value` is a positive integer.

    Raises:
        ConfigError: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigError(f"{what} must be an integer of at least 1, got {value!r}; pass for example 10")
