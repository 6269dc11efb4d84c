"""Worker processes on this machine."""

import pickle
import signal
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.reduction import ForkingPickler
from typing import Any, ClassVar

import torch
import torch.multiprocessing

from supermasks.errors import ConfigError, WorkerError
from supermasks.workers.base import Result, Workers, sendable

# How many files a process may have open, if the system lets it; each tensor that is shared is one.
_FILES = 65536
# How often it is looked whether a process has ended that a process of its own outlives.
_LOOK_SECONDS = 1.0
# How long a process may take to end that catches the signal to do so.
_END_SECONDS = 5.0


@dataclass(frozen=True)
class LocalProcesses(Workers):
    """Fresh processes on this machine, which share the tensors of the job in memory.

    A program that uses them begins at `if __name__ == "__main__":`, since each process imports it.

    Attributes:
        count: how many processes work at the same time.
        threads: with how many threads each computes; the product of both is best at most the number of cores.
        attempts: how often a number is begun at most, if processes are lost (killed for memory, for example).

    Raises:
        ConfigError: a number is below 1.
    """

    share_files: ClassVar[bool] = True

    count: int
    threads: int = 1
    attempts: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.count, self.threads, self.attempts) < 1:
            raise ConfigError(
                "workers, their threads and their attempts are at least 1, but "
                f"{self.count}, {self.threads} and {self.attempts} came"
            )

    def run(self, job: Callable[[int], Result], numbers: Sequence[int]) -> Generator[tuple[int, Result]]:
        waiting, lost = list(reversed(numbers)), Counter[int]()
        workers = list[_Worker]()
        _allow_files()
        try:
            while waiting or any(worker.number is not None for worker in workers):
                idle = [worker for worker in workers if worker.number is None]
                # All of them, before one is given something to do, for which it must have been loaded.
                for _ in range(min(self.count - len(workers), len(waiting) - len(idle))):
                    idle.append(_Worker(job, self.threads))
                    workers.append(idle[-1])
                for worker in idle[: len(waiting)]:
                    worker.begin(waiting.pop())
                for worker in _ready(workers):
                    number = worker.number
                    assert number is not None  # only those that work are waited for
                    done, result = worker.result()
                    if done:
                        yield number, result
                    else:
                        workers.remove(worker)
                        worker.stop()
                        lost[number] += 1
                        if lost[number] == self.attempts:
                            raise WorkerError(
                                f"number {number} was begun {self.attempts} times, and each time its process was lost; "
                                "was it killed for want of memory, or did it say why it cannot begin? Use fewer "
                                "workers, or none to see what it dies of"
                            )
                        waiting.append(number)
        finally:
            for worker in workers:
                worker.stop()


class _Worker:
    """One process, and what it works on."""

    def __init__(self, job: Callable[[int], Any], threads: int) -> None:
        # Not forked: a fork of a process with threads, as torch has them, may hang.
        context = torch.multiprocessing.get_context("spawn")
        self.number: int | None = None
        self._connection, other = context.Pipe()
        # Without the job: what is passed here is written before the process reads it, and where that ends instead,
        # more than a pipe takes would be waited for without end.
        self._process = context.Process(target=_work, args=(other, threads), daemon=True)
        self._unsent: Callable[[int], Any] | None = job
        try:
            self._process.start()
        except OSError as error:
            self._connection.close()
            raise WorkerError(f"a worker process cannot be started ({error}); use fewer workers") from error
        finally:
            other.close()

    def begin(self, number: int) -> None:
        self.number = number
        parts = [str(number).encode()]
        if self._unsent is not None:
            # By the pickle of torch, which moves tensors into shared memory and hands over its files.
            parts.insert(0, sendable(self._unsent, ForkingPickler.dumps))
            self._unsent = None
        with suppress(OSError):  # that it is gone is noticed when its result is waited for
            for part in parts:
                self._connection.send_bytes(part)

    def waited_for(self) -> Connection:
        return self._connection

    def alive(self) -> bool:
        return self._process.is_alive()

    def result(self) -> tuple[bool, Any]:
        """Return whether the process is still there, and the result, or raise what the job raised."""
        if not self.alive() and not self._connection.poll():
            return False, None
        try:
            sent = self._connection.recv_bytes()
        except (EOFError, OSError):
            return False, None
        self.number = None
        raised, value = pickle.loads(sent)
        if raised:
            raise value
        return True, value

    def stop(self) -> None:
        self._connection.close()
        self._process.terminate()
        self._process.join(_END_SECONDS)
        self._process.kill()
        self._process.join()


def _ready(workers: Sequence[_Worker]) -> list[_Worker]:
    """Wait until a process has sent a result or has ended, and return those that did."""
    working = {id(worker.waited_for()): worker for worker in workers if worker.number is not None}
    connections = [worker.waited_for() for worker in working.values()]
    while not (ready := wait(connections, _LOOK_SECONDS)):
        # The connection ends with the process, but not where a process that the job forked holds it too.
        if ended := [worker for worker in working.values() if not worker.alive()]:
            return ended
    return [working[id(connection)] for connection in ready]


def _allow_files() -> None:
    """Let this process, and those that it starts, open as many files as the system lets them; often it is 1024."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if hard == resource.RLIM_INFINITY else min(hard, _FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(ValueError, OSError):  # macOS has a lower limit that it does not tell
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _work(connection: Connection, threads: int) -> None:
    # Control-C goes to all processes of a terminal; the one that asked for the work ends the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(threads)
    job = _received(connection)
    while True:
        try:
            number = int(connection.recv_bytes())
        except (EOFError, OSError):
            return
        # Not by torch's own pickle, which hands over files: a process that ends would take them along.
        connection.send_bytes(_answer(job, number))


def _received(connection: Connection) -> Callable[[int], Any]:
    try:
        return connection.recv()
    except Exception as error:
        unreadable = WorkerError(
            f"a worker cannot read the job ({type(error).__name__}: {error}); can it import what the job is made of?"
        )

    def fail(number: int) -> None:
        raise unreadable

    return fail


def _answer(job: Callable[[int], Any], number: int) -> bytes:
    try:
        return pickle.dumps((False, job(number)))
    except Exception as error:
        try:
            sent = pickle.dumps((True, error))
            pickle.loads(sent)  # not every exception can be read again
        except Exception:
            return pickle.dumps((True, WorkerError(f"a worker raised {type(error).__name__}: {error}")))
        return sent
