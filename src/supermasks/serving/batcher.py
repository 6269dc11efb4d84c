"""Requests wait a few milliseconds for others, and go through the network together, in one thread."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter
from typing import NamedTuple

from supermasks.serving.jobs import Job, Outcome
from supermasks.serving.refusal import RefusedError
from supermasks.serving.settings import ServerSettings

Compute = Callable[[Sequence[Job]], list[Outcome]]
Observe = Callable[[int, int, float], None]


class _Waiting(NamedTuple):
    job: Job
    since: float
    done: "asyncio.Future[Outcome]"


class Batcher:
    """A bounded queue of jobs, and the thread that computes them.

    Args:
        settings: how long and how many may wait.
        compute: returns the outcomes of several jobs.
        observe: is told of each batch: its requests, its rows, and how many seconds it took.
    """

    def __init__(self, settings: ServerSettings, compute: Compute, observe: Observe) -> None:
        self._settings, self._compute, self._observe = settings, compute, observe
        self._queue = deque[_Waiting]()
        self._rows, self._busy = 0, False
        self._arrived, self._enough = asyncio.Event(), asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="compute")
        self._loop: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """The number of jobs that are not computed yet."""
        return len(self._queue)

    def start(self) -> None:
        """Begin to compute; an event loop is running."""
        self._loop = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """Compute what waits, and end."""
        while self._queue or self._busy:
            await asyncio.sleep(0.005)
        if self._loop is not None:
            self._loop.cancel()
        self._thread.shutdown()

    async def outcome(self, job: Job) -> Outcome:
        """Return the outcome of a job.

        Raises:
            RefusedError: too many jobs wait, or this one waited too long.
        """
        if len(self._queue) >= self._settings.max_queue:
            raise RefusedError(
                429, f"{len(self._queue)} requests wait already, which is the most; try again later", retry_after=1
            )
        waiting = _Waiting(job, perf_counter(), asyncio.get_running_loop().create_future())
        self._queue.append(waiting)
        self._rows += len(job.inputs)
        self._arrived.set()
        if self._rows >= self._settings.max_batch:
            self._enough.set()
        return await waiting.done

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._gather()
            batch = self._take()
            if not batch:
                continue
            self._busy, start = True, perf_counter()
            try:
                outcomes = await loop.run_in_executor(self._thread, self._compute, [waiting.job for waiting in batch])
            except Exception as error:  # of the user's network: each of the batch is told, and the server goes on
                for waiting in batch:
                    if not waiting.done.done():
                        waiting.done.set_exception(error)
            else:
                self._observe(len(batch), sum(len(one.job.inputs) for one in batch), perf_counter() - start)
                for waiting, outcome in zip(batch, outcomes, strict=True):
                    if not waiting.done.done():  # the client may have gone
                        waiting.done.set_result(outcome)
            finally:
                self._busy = False

    async def _gather(self) -> None:
        """Wait for a first job, and then until there are enough, or it has waited long enough."""
        while not self._queue:
            self._arrived.clear()
            await self._arrived.wait()
        left = self._queue[0].since + self._settings.max_wait_ms / 1000 - perf_counter()
        if self._rows < self._settings.max_batch and left > 0:
            self._enough.clear()
            timer = asyncio.get_running_loop().call_later(left, self._enough.set)
            await self._enough.wait()
            timer.cancel()

    def _take(self) -> list[_Waiting]:
        """Return the next jobs, at most as many rows as a batch has; jobs that waited too long are refused."""
        batch, rows, now = list[_Waiting](), 0, perf_counter()
        while self._queue and (not batch or rows + len(self._queue[0].job.inputs) <= self._settings.max_batch):
            waiting = self._queue.popleft()
            self._rows -= len(waiting.job.inputs)
            if waiting.done.done():
                continue
            if now - waiting.since > self._settings.timeout:
                waiting.done.set_exception(
                    RefusedError(429, f"the request waited {now - waiting.since:.1f} s; try again later", retry_after=1)
                )
                continue
            rows += len(waiting.job.inputs)
            batch.append(waiting)
        return batch
