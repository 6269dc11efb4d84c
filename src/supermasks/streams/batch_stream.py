"""A stream of batches from a sequence of tasks: what a stream learner sees, without the names of the tasks."""

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from supermasks.errors import ConfigError
from supermasks.seeding import generator
from supermasks.training.order import Order
from supermasks.types import TaskStream


@dataclass(frozen=True, eq=False)
class Batch:
    """One batch of a stream.

    Attributes:
        number: from 0.
        index: of the task that it is of, which a stream learner is not told.
        inputs: `batch x ...`.
        labels: one for each input.
    """

    number: int
    index: int
    inputs: Tensor
    labels: list[Hashable]


@dataclass(frozen=True, eq=False)
class BatchStream:
    """Batches of one task after the other; tasks may return.

    Attributes:
        tasks: where the examples come from.
        visits: for each visit, the index of the task and the number of batches.
        batch_size: examples in a batch.
        seed: of the order of the examples; each visit has its own order.

    Raises:
        ConfigError: there are no visits, or one has an index or a number out of range.

    Example:
        >>> from supermasks.data import PermutedStream
        >>> from supermasks.datasets import load_source
        >>> tasks = PermutedStream(load_source("sample"), tasks=2)
        >>> stream = BatchStream(tasks, visits=((0, 2), (1, 1), (0, 1)), batch_size=4)
        >>> [batch.index for batch in stream.batches()]
        [0, 0, 1, 0]
        >>> stream.boundaries
        [0, 2, 3]
    """

    tasks: TaskStream
    visits: Sequence[tuple[int, int]]
    batch_size: int = 128
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.visits or self.batch_size < 1:
            raise ConfigError(f"a stream needs visits and batches of at least 1 example, got {self}")
        for index, count in self.visits:
            if not 0 <= index < len(self.tasks) or count < 1:
                raise ConfigError(
                    f"a visit must be the index of one of {len(self.tasks)} tasks and a positive number of batches, "
                    f"got {(index, count)}"
                )

    def __len__(self) -> int:
        return sum(count for _, count in self.visits)

    @property
    def boundaries(self) -> list[int]:
        """The number of the first batch of each visit."""
        starts = [0]
        for _, count in self.visits[:-1]:
            starts.append(starts[-1] + count)
        return starts

    def batches(self, start: int = 0) -> Iterator[Batch]:
        """Yield the batches from `start` on; they do not depend on where the iteration starts."""
        for visit, (first, (index, count)) in enumerate(zip(self.boundaries, self.visits, strict=True)):
            if first + count <= start:
                continue
            task = self.tasks[index]
            order = Order.of(f"visit {visit} of {task.name}", len(task.train), self.batch_size, self.seed)
            for number in range(first, first + count):
                rows = order.next()
                if number >= start:
                    inputs, targets = task.train.batch(rows)
                    yield Batch(number, index, inputs, [task.classes[n] for n in targets.tolist()])


def random_lengths(tasks: int, shortest: int, longest: int, seed: int) -> tuple[tuple[int, int], ...]:
    """Return a visit of each task, one after the other, of a random number of batches.

    Args:
        tasks: how many.
        shortest: the least number of batches.
        longest: the largest number of batches.
        seed: of the numbers.

    Raises:
        ConfigError: the numbers are out of range.

    Example:
        >>> [300 <= count <= 2000 for _, count in random_lengths(3, 300, 2000, seed=0)]
        [True, True, True]
    """
    if tasks < 1 or not 1 <= shortest <= longest:
        raise ConfigError(f"expected at least 1 task and 1 <= shortest <= longest, got {(tasks, shortest, longest)}")
    random = generator(seed, "lengths of visits")
    return tuple((index, int(random.integers(shortest, longest + 1))) for index in range(tasks))
