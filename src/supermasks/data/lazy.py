"""What all streams share: they are sequences that make a task each time it is asked for."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

from supermasks.errors import ConfigError
from supermasks.types import Task, TaskStream


class LazyStream(ABC):
    """A sequence of tasks of which none is kept: `stream[n]`, `stream[-1]`, `len(stream)`, and iteration."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def make(self, index: int) -> Task:
        """Make the task at `index`, which lies in `0..len(self) - 1`."""

    def __getitem__(self, index: int, /) -> Task:
        length = len(self)
        if not -length <= index < length:
            raise IndexError(f"an index into {length} tasks lies in {-length}..{length - 1}, but {index} came")
        return self.make(index % length)

    def __iter__(self) -> Iterator[Task]:
        return (self.make(index) for index in range(len(self)))


@dataclass(frozen=True, eq=False)
class Rest(LazyStream):
    """What a stream has from one of its tasks on.

    Attributes:
        stream: of all tasks.
        start: the index of the first one that is wanted.
    """

    stream: TaskStream
    start: int

    def __len__(self) -> int:
        return max(0, len(self.stream) - self.start)

    def make(self, index: int) -> Task:
        """Make the task at `index`, counted from the first one that is wanted."""
        return self.stream[self.start + index]


def check_count(what: str, value: object) -> None:
    """Check that `value` is a positive integer.

    Raises:
        ConfigError: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigError(f"{what} is an integer of at least 1, but {value!r} came; pass for example 10")
