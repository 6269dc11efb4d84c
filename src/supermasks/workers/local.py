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

# The limit of open files to ask the system for; each shared tensor is a file.
_FILES = 65536
# How often to check for a dead worker whose own child process still holds the connection.
_LOOK_SECONDS = 1.0
# How long a terminated process may take to end before it is killed.
_END_SECONDS = 5.0


@dataclass(frozen=True)
class LocalProcesses(Workers):
    """New processes on this machine, which share the tensors of the job in memory.

    Each process imports the main program, so guard its code by `if __name__ == "__main__":`.

    Attributes:
        count: the number of processes.
        threads: of each process; `count * threads` should not exceed the number of cores.
        attempts: how often a number is started at most, if its process is lost (killed for memory, for example).

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
                "count, threads and attempts of workers must be at least 1, got "
                f"{self.count}, {self.threads} and {self.attempts}"
            )

    def run(self, job: Callable[[int], Result], numbers: Sequence[int]) -> Generator[tuple[int, Result]]:
        waiting, lost = list(reversed(numbers)), Counter[int]()
        workers = list[_Worker]()
        _allow_files()
        try:
            while waiting or any(worker.number is not None for worker in workers):
                idle = [worker for worker in workers if worker.number is None]
                # Start all before the first gets a number: they load the program in parallel.
                for _ in range(min(self.count - len(workers), len(waiting) - len(idle))):
                    idle.append(_Worker(job, self.threads))
                    workers.append(idle[-1])
                for worker in idle[: len(waiting)]:
                    worker.begin(waiting.pop())
                for worker in _ready(workers):
                    number = worker.number
                    assert number is not None  # only busy workers are waited for
                    done, result = worker.result()
                    if done:
                        yield number, result
                    else:
                        workers.remove(worker)
                        worker.stop()
                        lost[number] += 1
                        if lost[number] == self.attempts:
                            raise WorkerError(
                                f"the process of number {number} was lost in each of {self.attempts} attempts. Did it "
                                "run out of memory, or print why it cannot start? Use fewer workers, or run the job in "
                                "this process to see the error"
                            )
                        waiting.append(number)
        finally:
            for worker in workers:
                worker.stop()


class _Worker:
    """One process and the number that it works on."""

    def __init__(self, job: Callable[[int], Any], threads: int) -> None:
        # Spawned: a fork of a process with threads, such as torch's, may hang.
        context = torch.multiprocessing.get_context("spawn")
        self.number: int | None = None
        self._connection, other = context.Pipe()
        # The job is sent later: arguments are written before the process reads them. If the process died first, writing
        # more than the pipe holds would wait forever.
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
            # torch's pickle moves tensors into shared memory and sends the files.
            parts.insert(0, sendable(self._unsent, ForkingPickler.dumps))
            self._unsent = None
        with suppress(OSError):  # a dead process is noticed when its result is awaited
            for part in parts:
                self._connection.send_bytes(part)

    def waited_for(self) -> Connection:
        return self._connection

    def alive(self) -> bool:
        return self._process.is_alive()

    def result(self) -> tuple[bool, Any]:
        """Return whether the process is alive, and the result; raise what the job raised."""
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
    """Wait for processes that have sent a result or ended, and return them."""
    working = {id(worker.waited_for()): worker for worker in workers if worker.number is not None}
    connections = [worker.waited_for() for worker in working.values()]
    while not (ready := wait(connections, _LOOK_SECONDS)):
        # A dead process closes its connection, unless a child that the job forked still holds it.
        if ended := [worker for worker in working.values() if not worker.alive()]:
            return ended
    return [working[id(connection)] for connection in ready]


def _allow_files() -> None:
    """Raise the limit of open files, often 1024, for this process and its children."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if hard == resource.RLIM_INFINITY else min(hard, _FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(ValueError, OSError):  # macOS has a lower, hidden limit
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _work(connection: Connection, threads: int) -> None:
    # Control-C reaches all processes of a terminal; the parent stops the workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(threads)
    job = _received(connection)
    while True:
        try:
            number = int(connection.recv_bytes())
        except (EOFError, OSError):
            return
        # Not torch's pickle: its files would vanish with this process.
        connection.send_bytes(_answer(job, number))


def _received(connection: Connection) -> Callable[[int], Any]:
    try:
        return connection.recv()
    except Exception as error:
        unreadable = WorkerError(
            f"a worker cannot read the job ({type(error).__name__}: {error}); can it import the modules of the job?"
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
            pickle.loads(sent)  # some exceptions cannot be unpickled
        except Exception:
            return pickle.dumps((True, WorkerError(f"a worker raised {type(error).__name__}: {error}")))
        return sent
