"""Workers on a Ray cluster (extra `ray`)."""

import logging
import os
import pickle
import socket
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import numpy as np
import torch
from numpy.typing import NDArray

from supermasks.errors import ConfigError, MissingExtraError, WorkerError
from supermasks.workers.base import Result, Workers, sendable

# More numbers than the cluster has room for, so that a worker starts the next one at once.
_QUEUED = 2
# How often to check whether nodes have joined or left.
_RECOUNT_SECONDS = 5.0
# How long the address may take to answer.
_CONNECT_SECONDS = 10.0
# How long to wait for cancelled work; Ray kills its process in far less.
_CANCEL_SECONDS = 10.0

# In a worker: its job, by the name of the run. Kept, since Ray unpickles arguments anew for each task.
_jobs = dict[str, Callable[[int], Any]]()


@dataclass(frozen=True)
class RayCluster(Workers):
    """Ray tasks on the CPUs of a cluster.

    Each node needs this library and the modules of the job, except for `__main__`, which is sent. Nodes may join and
    leave at any time. Each process holds a copy of the job.

    Attributes:
        address: of the cluster, as for `ray.init`: "auto" (the cluster of this machine), "host:port" or
            "ray://host:port". None uses the cluster that this program is connected to. If there is none, Ray runs on
            this machine during the iteration.
        threads: of a task, which reserves as many CPUs. Tasks wait until a node has them.
        attempts: how often a number is started at most, if processes or nodes are lost.
        at_once: the largest number of running and queued calls; None means two more than the CPUs of the cluster allow.
            A cluster that scales on demand grows to this number.

    Raises:
        ConfigError: a number is below 1, or the address is empty.
    """

    address: str | None = None
    threads: int = 1
    attempts: int = 3
    at_once: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.threads, self.attempts) < 1 or (self.at_once is not None and self.at_once < 1):
            raise ConfigError(
                "threads, attempts and at_once (or None) of a Ray cluster must be at least 1, got "
                f"{self.threads}, {self.attempts} and {self.at_once}"
            )
        if self.address is not None and not self.address.strip():
            raise ConfigError(
                'the address of a Ray cluster must be "auto", "host:port", "ray://host:port", or None for the present '
                f"connection, got {self.address!r}"
            )

    def run(self, job: Callable[[int], Result], numbers: Sequence[int]) -> Generator[tuple[int, Result]]:
        ray = _ray()
        with _connected(ray, self.address) as started:
            if started and (cpus := ray.cluster_resources().get("CPU", 0)) < self.threads:
                raise ConfigError(
                    f"a Ray task needs a CPU for each of its {self.threads} threads, but this machine has {cpus:g}; "
                    "use fewer threads, or LocalProcesses"
                )
            yield from self._run(ray, job, numbers)

    def _run(self, ray: Any, job: Callable[[int], Result], numbers: Sequence[int]) -> Iterator[tuple[int, Result]]:
        losses = (
            ray.exceptions.WorkerCrashedError,
            ray.exceptions.OutOfMemoryError,
            ray.exceptions.NodeDiedError,
            ray.exceptions.LocalRayletDiedError,
            ray.exceptions.ObjectLostError,
        )
        # Attempts are counted here: Ray's own retries ignore losses by lack of memory and by preemption.
        begin = ray.remote(num_cpus=self.threads, max_retries=0)(_work).remote
        # As an array: the tasks of a node read it from shared memory, without a copy.
        name, sent = uuid4().hex, ray.put(np.frombuffer(sendable(job, ray.cloudpickle.dumps), np.uint8))
        waiting, lost, under_way = list(reversed(numbers)), Counter[int](), dict[Any, int]()
        limit, counted = 0, -_RECOUNT_SECONDS
        try:
            while waiting or under_way:
                if time.monotonic() - counted >= _RECOUNT_SECONDS:
                    limit, counted = self._limit(ray), time.monotonic()
                while waiting and len(under_way) < limit:
                    number = waiting.pop()
                    under_way[begin(name, sent, number, self.threads)] = number
                ready, _ = ray.wait(list(under_way), timeout=_RECOUNT_SECONDS)
                for reference in ready:
                    number = under_way.pop(reference)
                    try:
                        result = ray.get(reference)
                    except losses as error:
                        lost[number] += 1
                        if lost[number] == self.attempts:
                            raise WorkerError(
                                f"the process or node of number {number} was lost in each of {self.attempts} attempts. "
                                "Did it run out of memory? Increase threads, so that fewer tasks share a node, or run "
                                f"the job in this process to see the error ({error})"
                            ) from error
                        waiting.append(number)
                    except ray.exceptions.RayTaskError as error:
                        # The cause is what the job raised; `error` only adds where.
                        if isinstance(error.cause, ray.exceptions.RayError):
                            raise WorkerError(f"Ray could not run the job: {error}") from error
                        raise error.cause from error
                    except ray.exceptions.RayError as error:
                        raise WorkerError(f"Ray could not run the job for number {number}: {error}") from error
                    else:
                        yield number, pickle.loads(result)
        finally:
            # After a shutdown nothing is left to cancel, and a call would start Ray again.
            if under_way and ray.is_initialized():
                for reference in under_way:
                    ray.cancel(reference, force=True)
                ray.wait(list(under_way), num_returns=len(under_way), timeout=_CANCEL_SECONDS)

    def _limit(self, ray: Any) -> int:
        if self.at_once is not None:
            return self.at_once
        # By node: a task with two threads cannot use one CPU on each of two nodes.
        cpus = [node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"]]
        return sum(int(count // self.threads) for count in cpus) + _QUEUED


def _ray() -> Any:
    try:
        # Not an import statement: a type checker knows Ray only in part, or not at all if it is not installed.
        import_module("ray.exceptions")
        import_module("ray.cloudpickle")
        return import_module("ray")
    except ImportError as error:
        raise MissingExtraError("RayCluster needs Ray; install it with: pip install 'supermasks[ray]'") from error


@contextmanager
def _connected(ray: Any, address: str | None) -> Generator[bool]:
    """Connect to a cluster, or start one, and disconnect at the end; an existing connection is kept.

    Yields:
        whether Ray was started on this machine.
    """
    if ray.is_initialized():
        if address is not None:
            raise ConfigError(
                f"this program is already connected to a Ray cluster, but got the address {address!r}; pass None to "
                "use the connection, or call ray.shutdown() first"
            )
        yield False
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # A running cluster has its own dashboard, or none.
    settings = {"address": "local", "include_dashboard": False} if address is None else {"address": address}
    try:
        _check_reachable(address)
        ray.init(**settings, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:
        tried = "start Ray on this machine" if address is None else f"connect to a Ray cluster at {address}"
        raise WorkerError(f"cannot {tried} ({type(error).__name__}: {error})") from error
    try:
        yield address is None
    finally:
        ray.shutdown()


def _check_reachable(address: str | None) -> None:
    """Raise OSError if "host:port" does not answer; Ray would end this program or wait forever."""
    if address is None:
        return
    parts = urlsplit(address if "://" in address else f"//{address}")
    if parts.hostname is not None and parts.port is not None:
        socket.create_connection((parts.hostname, parts.port), _CONNECT_SECONDS).close()


def _work(name: str, sent: NDArray[np.uint8], number: int, threads: int) -> bytes:
    """Run a job on one number, in a worker; returns bytes, since arrays sent by Ray are read-only."""
    cloudpickle: Any = import_module("ray.cloudpickle")
    torch.set_num_threads(threads)
    if name not in _jobs:
        _jobs.clear()
        try:
            _jobs[name] = cloudpickle.loads(sent)
        except Exception as error:
            raise WorkerError(
                f"a worker cannot read the job ({type(error).__name__}: {error}); do all nodes have the same packages?"
            ) from error
    try:
        return cloudpickle.dumps(_jobs[name](number))
    except Exception as error:
        try:
            cloudpickle.loads(cloudpickle.dumps(error))  # some exceptions cannot be pickled or unpickled
        except Exception:
            raise WorkerError(f"a worker raised {type(error).__name__}: {error}") from error
        raise
