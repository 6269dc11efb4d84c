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

# Beyond what the cluster can compute at once, so that a worker need not wait until its result has been taken.
_QUEUED = 2
# How often it is looked whether nodes have joined or left.
_RECOUNT_SECONDS = 5.0
# How long the machine of an address may take to answer.
_CONNECT_SECONDS = 10.0
# How long cancelled work is waited for; Ray kills its process, which takes far less.
_CANCEL_SECONDS = 10.0

# In a worker: the job that it does, by the name of its run. Ray reads what it passes to a task anew for each task.
_jobs = dict[str, Callable[[int], Any]]()


@dataclass(frozen=True)
class RayCluster(Workers):
    """Ray tasks, on the CPUs of the nodes of a cluster.

    This library is installed on each node, as is what the job is made of, except for what the program itself (its
    `__main__`) defines. Nodes may join and leave at any time. Each process holds the job in memory of its own.

    Attributes:
        address: of the cluster, as `ray.init` takes it: "auto" for the one that this machine belongs to, "host:port",
            or "ray://host:port". None uses the cluster that this program is connected to; if there is none, Ray runs
            on this machine as long as the iteration.
        threads: with how many threads a task computes, and so many CPUs it reserves. As long as no node has so many,
            tasks wait for one.
        attempts: how often a number is begun at most, if processes or nodes are lost.
        at_once: how many numbers are under way or queued at most; None: as many as the cluster has CPUs for, and two
            more. A cluster that grows on demand grows to as many.

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
                "the threads of a Ray task, its attempts, and how many tasks are under way at once (unless it is None) "
                f"are at least 1, but {self.threads}, {self.attempts} and {self.at_once} came"
            )
        if self.address is not None and not self.address.strip():
            raise ConfigError(
                'the address of a Ray cluster is "auto", "host:port", "ray://host:port", or None for the one that is '
                f"connected to already, but {self.address!r} came"
            )

    def run(self, job: Callable[[int], Result], numbers: Sequence[int]) -> Generator[tuple[int, Result]]:
        ray = _ray()
        with _connected(ray, self.address) as started:
            if started and (cpus := ray.cluster_resources().get("CPU", 0)) < self.threads:
                raise ConfigError(
                    f"a Ray task takes a CPU for each of its threads, here {self.threads}, but this machine has "
                    f"{cpus:g}; use fewer threads, or LocalProcesses"
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
        # Attempts are counted here: Ray's own retries leave out those that ended for want of memory or in preemption.
        begin = ray.remote(num_cpus=self.threads, max_retries=0)(_work).remote
        # As an array, which the tasks of a node read from shared memory without a copy.
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
                                f"number {number} was begun {self.attempts} times, and each time its process or node "
                                "was lost; was it killed for want of memory? Reserve more CPUs for it (threads), so "
                                f"that fewer share a node, or call the job here to see what it dies of ({error})"
                            ) from error
                        waiting.append(number)
                    except ray.exceptions.RayTaskError as error:
                        # `error` says where it was raised; what its cause says is what the job raised.
                        if isinstance(error.cause, ray.exceptions.RayError):
                            raise WorkerError(f"Ray could not run the job: {error}") from error
                        raise error.cause from error
                    except ray.exceptions.RayError as error:
                        raise WorkerError(f"Ray could not run the job for number {number}: {error}") from error
                    else:
                        yield number, pickle.loads(result)
        finally:
            # Once it is shut down there is nothing to cancel, but a call would start Ray again.
            if under_way and ray.is_initialized():
                for reference in under_way:
                    ray.cancel(reference, force=True)
                ray.wait(list(under_way), num_returns=len(under_way), timeout=_CANCEL_SECONDS)

    def _limit(self, ray: Any) -> int:
        if self.at_once is not None:
            return self.at_once
        # By node: two nodes with one CPU left cannot compute a task that takes two.
        cpus = [node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"]]
        return sum(int(count // self.threads) for count in cpus) + _QUEUED


def _ray() -> Any:
    try:
        # Not by a statement: the types of Ray are only partly known, and where it is not installed nothing is.
        import_module("ray.exceptions")
        import_module("ray.cloudpickle")
        return import_module("ray")
    except ImportError as error:
        raise MissingExtraError(
            "workers on a cluster take Ray; install it with: pip install 'supermasks[ray]'"
        ) from error


@contextmanager
def _connected(ray: Any, address: str | None) -> Generator[bool]:
    """Connect to a cluster, or start one, and leave it in the end; a connection that is there already stays.

    Yields:
        whether Ray was started on this machine.
    """
    if ray.is_initialized():
        if address is not None:
            raise ConfigError(
                f"the address of a Ray cluster came ({address}), but this program is connected to one already; pass "
                "None to use that one, or call ray.shutdown() before"
            )
        yield False
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Where it runs already it has its dashboard or has none.
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
    """Raise OSError if nothing answers at "host:port", where Ray would end this program or wait without end."""
    if address is None:
        return
    parts = urlsplit(address if "://" in address else f"//{address}")
    if parts.hostname is not None and parts.port is not None:
        socket.create_connection((parts.hostname, parts.port), _CONNECT_SECONDS).close()


def _work(name: str, sent: NDArray[np.uint8], number: int, threads: int) -> bytes:
    """Do a job for one number, in a worker; what comes back is bytes, since what Ray sends cannot be written into."""
    cloudpickle: Any = import_module("ray.cloudpickle")
    torch.set_num_threads(threads)
    if name not in _jobs:
        _jobs.clear()
        try:
            _jobs[name] = cloudpickle.loads(sent)
        except Exception as error:
            raise WorkerError(
                f"a worker cannot read the job ({type(error).__name__}: {error}); is the same installed on all nodes?"
            ) from error
    try:
        return cloudpickle.dumps(_jobs[name](number))
    except Exception as error:
        try:
            cloudpickle.loads(cloudpickle.dumps(error))  # not every exception can be sent, or read again
        except Exception:
            raise WorkerError(f"a worker raised {type(error).__name__}: {error}") from error
        raise
