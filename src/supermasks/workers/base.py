"""What workers do: one job, for many numbers."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Sequence
from typing import Any, ClassVar, TypeVar

from supermasks.errors import WorkerError
from supermasks.spec import Settings

Result = TypeVar("Result")


def sendable(job: object, dumps: Callable[[Any], Any]) -> bytes:
    """Return a job as the bytes that are sent to workers.

    Args:
        job: to be sent.
        dumps: pickles it.

    Raises:
        WorkerError: something in it cannot be sent to another process.
    """
    try:
        return bytes(dumps(job))
    except Exception as error:  # whatever the objects of a user raise
        raise WorkerError(
            f"the job cannot be sent to another process, since something in it cannot be pickled: {error}; define "
            "functions and classes at the top level of a module that workers can import, in place of lambdas and "
            "functions within functions, or learn the tasks one by one in this process"
        ) from error


class Workers(Settings, ABC):
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
            WorkerError: workers were lost again and again, or cannot be started, or the job cannot be sent.
            Exception: whatever the job raises.
        """
