"""Jobs that the tests send to workers; a module of its own, which the workers can import by its name."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from supermasks.errors import LabelError


@dataclass(frozen=True, eq=False)
class Scaled:
    """Multiplies a tensor by the number, and says where."""

    tensor: Tensor

    def __call__(self, number: int) -> tuple[Tensor, int, int]:
        return number * self.tensor, os.getpid(), torch.get_num_threads()


@dataclass(frozen=True, eq=False)
class Writes:
    """Writes the number into the shared tensor."""

    tensor: Tensor

    def __call__(self, number: int) -> None:
        self.tensor[number] = number


@dataclass(frozen=True, eq=False)
class Sum:
    """Adds up many tensors, to which text is tied."""

    tensors: tuple[Tensor, ...]
    text: str = ""

    def __call__(self, number: int) -> float:
        return number + float(sum(tensor.sum() for tensor in self.tensors))


@dataclass(frozen=True)
class Steps:
    """Squares, and writes down who began with which number; what it does first, it does to some numbers only."""

    folder: Path
    first: Callable[[Path], Any] | None = None
    numbers: tuple[int, ...] = ()
    times: int = 1

    def __call__(self, number: int) -> int:
        with open(self.folder / "begun", "a") as file:
            file.write(f"{number} {os.getpid()}\n")
        if self.first is not None and number in self.numbers and len(self.pids(number)) <= self.times:
            self.first(self.folder)
        return number * number

    def begun(self) -> list[tuple[int, int]]:
        """Return each number that was begun and the process, in the order in which that happened."""
        path = self.folder / "begun"
        lines = path.read_text().splitlines() if path.exists() else []
        return [(int(line.split()[0]), int(line.split()[1])) for line in lines]

    def pids(self, number: int) -> list[int]:
        return [pid for begun, pid in self.begun() if begun == number]

    def wait(self, number: int, seconds: float = 300) -> int:
        """Wait until a number was begun, and return by which process first."""
        end = time.monotonic() + seconds
        while not (pids := self.pids(number)):
            assert time.monotonic() < end, f"{number} was not begun"
            time.sleep(0.02)
        return pids[0]


def sleep(folder: Path) -> None:
    del folder
    time.sleep(600)


def sleep_whatever_comes(folder: Path) -> None:
    """Not to be ended by anything but SIGKILL."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sleep(folder)


def end_at_once(folder: Path) -> None:
    del folder
    os.kill(os.getpid(), signal.SIGKILL)


def end_and_be_outlived(folder: Path) -> None:
    """End, while a child has all files of this process, the connection too."""
    child = os.fork()
    if child == 0:
        sleep(folder)
    (folder / "child").write_text(str(child))
    end_at_once(folder)


class UnreadableError(Exception):
    """An exception that is pickled but cannot be read again."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} and {second}")


@dataclass(frozen=True)
class Raises:
    """Raises in each of its ways, by the number."""

    def __call__(self, number: int) -> object:
        if number == 0:
            raise LabelError("a label", 7)
        if number == 1:
            raise UnreadableError("this", "that")
        if number == 2:
            error = ValueError("it holds a lock")
            error.lock = threading.Lock()  # pyright: ignore[reportAttributeAccessIssue]
            raise error
        return threading.Lock()


class ReadOnlyHere:
    """A job that only the process that made it can read."""

    def __reduce__(self) -> tuple[object, tuple[int]]:
        return _read_in, (os.getpid(),)

    def __call__(self, number: int) -> int:
        return number


def _read_in(pid: int) -> ReadOnlyHere:
    if pid != os.getpid():
        raise ImportError(f"nothing of it is installed in {sys.prefix}")
    return ReadOnlyHere()


@dataclass(frozen=True)
class StepsOnRay(Steps):
    """Takes a while, and says on which node; on one, named in a file, it does not come to an end."""

    def __call__(self, number: int) -> tuple[int, str]:
        import ray

        node = ray.get_runtime_context().get_node_id()
        squared, forever = super().__call__(number), self.folder / "forever"
        if forever.exists() and forever.read_text() == node:
            (self.folder / f"waiting-{number}").touch()
            sleep(self.folder)
        if not self.waiting():
            time.sleep(0.3)
        return squared, node

    def waiting(self) -> list[int]:
        """Return the numbers that were begun on that node."""
        return [int(path.name.split("-")[1]) for path in self.folder.glob("waiting-*")]
