"""The interface of workers: call one job on many numbers."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Sequence
from typing import Any, ClassVar, TypeVar

from supermasks.errors import WorkerError
from supermasks.spec import Settings

Result = TypeVar("Result")


def sendable(job: object, dumps: Callable[[Any], Any]) -> bytes:
    """Return a job as bytes to send to workers.

    Args:
        job: to send.
        dumps: pickles it.

    Raises:
        WorkerError: the job cannot be pickled.
    """
    try:
        return bytes(dumps(job))
    except Exception as error:  # a user's objects may raise anything
        raise WorkerError(
            f"the job cannot be sent to another process, because it cannot be pickled: {error}; define functions and "
            "classes at the top level of a module that workers can import (no lambdas, no nested functions), or learn "
            "the tasks one by one in this process"
        ) from error


class Workers(Settings, ABC):
    """Calls a job on many numbers in parallel processes. Subclasses say where.

    Attributes:
        share_files: whether workers see the files of this machine, under the same paths.
    """

    share_files: ClassVar[bool] = False

    @abstractmethod
    def run(self, job: Callable[[int], Result], numbers: Sequence[int]) -> Generator[tuple[int, Result]]:
        """Yield each number and its result, as soon as it is done.

        If a worker is lost, another one repeats its number. When the iteration ends or is closed, all workers stop.

        Args:
            job: sent to the workers once. The job and its results are pickled.
            numbers: the arguments; calls start in this order.

        Raises:
            WorkerError: workers were lost too often or cannot start, or the job cannot be sent.
            Exception: the job raised it.
        """
