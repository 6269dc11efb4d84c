"""What workers do: one job, for many numbers."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Sequence
from typing import ClassVar, TypeVar

Result = TypeVar("Result")


class Workers(ABC):
    """Call a job on many numbers, several at a time, each in a process of its own; subclasses say where.

    Attributes:
        share_files: whether they read the files of this machine, by the same names.
    """

    share_files: ClassVar[bool] = False

    @abstractmethod
    def run(self, job: Callable[[int], Result], numbers: Sequence[int]) -> Generator[tuple[int, Result]]:
        """Yield each number with what the job returns for it, in the order in which they are done.

        What a lost worker was working on is done again by another. When the iteration ends, also before its end,
        no worker is left working.

        Args:
            job: is sent to the workers once, by pickle, and so are its results.
            numbers: what to call it with; those that come first are begun first.

        Raises:
            WorkerError: workers were lost again and again, or cannot be started.
            and whatever the job raises.
        """
