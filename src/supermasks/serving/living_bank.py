"""A bank that changes while it is served: the folder is watched, and clients with a token put and remove tasks."""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

import torch

from supermasks.bank import BankFolder
from supermasks.encoding import decode_state
from supermasks.errors import BankFormatError, MaskError, SupermasksError
from supermasks.network import Network
from supermasks.serving.refusal import RefusedError
from supermasks.serving.snapshot import RESERVED, Snapshot, SnapshotMaker
from supermasks.state import TaskState
from supermasks.task_info import check_name
from supermasks.trial import check_answers

TRIES = 20
"""How often a request begins anew, each time because the bank has changed before it was read."""

log = logging.getLogger("supermasks.serving")


class LivingBank:
    """A bank in a folder, of which there is always a snapshot.

    Args:
        folder: of the bank.
        maker: makes snapshots of it.
        watch: how many seconds pass between two looks at the folder.
        failed: is called whenever a changed bank cannot be read; the last snapshot goes on answering.
    """

    def __init__(self, folder: BankFolder, maker: SnapshotMaker, watch: float, failed: Callable[[], None]) -> None:
        self._folder, self._maker, self._watch, self._failed = folder, maker, watch, failed
        self._stamp = folder.stamp()  # before it is read: what changes meanwhile is then noticed
        self.snapshot = maker.make(None)
        self.problem = ""
        self._changing, self._refreshing = asyncio.Lock(), asyncio.Lock()
        self._watcher: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to watch the folder; an event loop is running."""
        self._watcher = asyncio.get_running_loop().create_task(self._watching())

    async def stop(self) -> None:
        """Stop watching, once a change that is under way is complete."""
        async with self._changing:
            if self._watcher is not None:
                self._watcher.cancel()

    async def refresh(self) -> None:
        """Take a new snapshot if the bank has changed.

        Raises:
            SupermasksError: the bank cannot be read; the old snapshot stays.
        """
        async with self._refreshing:
            for left in reversed(range(TRIES)):
                stamp = await asyncio.to_thread(self._folder.stamp)
                if stamp == self._stamp and not self.problem:
                    return
                try:
                    self.snapshot = await asyncio.to_thread(self._maker.make, self.snapshot)
                except SupermasksError as error:
                    if left and await asyncio.to_thread(self._folder.stamp) != stamp:
                        continue  # it has changed while it was read
                    self.problem = str(error)
                    raise
                self._stamp, self.problem = stamp, ""
                return

    async def state(self, snapshot: Snapshot, name: str) -> tuple[Snapshot, TaskState]:
        """Return the state of a task, and the snapshot that it is of.

        Args:
            snapshot: where it is looked for.
            name: of the task.

        Raises:
            RefusedError: there is no such task, or it cannot be read.
        """
        for _ in range(TRIES):
            if name not in snapshot:
                raise unknown(name)
            if (state := snapshot.in_memory(name)) is not None:
                return snapshot, state
            try:
                return snapshot, await asyncio.to_thread(snapshot.state, name)
            except SupermasksError as error:  # the task was changed since the snapshot was taken
                refused = RefusedError(503, f"the bank could not be read: {error}", retry_after=1)
                try:
                    await self.refresh()
                except SupermasksError:
                    raise refused from error
                if self.snapshot is snapshot:
                    raise refused from error
                snapshot = self.snapshot
        raise RefusedError(503, f"task {name!r} changes all the time; try again later", retry_after=1)

    async def put(self, name: str, content: bytes) -> bool:
        """Add or replace a task; return whether it was added.

        Args:
            name: of the task.
            content: its bytes, as `MaskBank.encoded` returns them.

        Raises:
            RefusedError: these are not the bytes of a task over this network.
            SupermasksError: the bank cannot be written.
        """
        if name in RESERVED:
            raise RefusedError(400, f"the name {name!r} is reserved; choose another one")
        async with self._changing:
            await self._look()
            added = await asyncio.to_thread(self._put, name, content, self.snapshot)
            await self._look()
            return added

    async def remove(self, name: str) -> None:
        """Remove a task.

        Raises:
            RefusedError: there is no such task.
            TaskError: the task has trained shared weights.
            SupermasksError: the bank cannot be written.
        """
        async with self._changing:
            await self._look()
            if name not in self.snapshot:
                raise unknown(name)
            await asyncio.to_thread(self._folder.remove, name)
            await self._look()

    async def _look(self) -> None:
        """Refresh; raise RefusedError if the bank cannot be read, which is no fault of the client."""
        try:
            await self.refresh()
        except SupermasksError as error:
            raise RefusedError(503, f"the bank could not be read: {error}", retry_after=1) from error

    def _put(self, name: str, content: bytes, snapshot: Snapshot) -> bool:
        state = checked_state(name, content, snapshot)
        if name in snapshot:
            self._folder.replace(state)
        else:
            self._folder.append(state)
        return name not in snapshot

    async def _watching(self) -> None:
        logged = ""
        while True:
            await asyncio.sleep(self._watch)
            try:
                await self.refresh()
            except SupermasksError as error:
                self._failed()
                if str(error) == logged:
                    continue
                logged = str(error)
                log.error("the bank has changed, but cannot be read; the last one goes on answering: %s", error)


def unknown(name: str) -> RefusedError:
    """Return the refusal for a task that the bank does not have."""
    shown = name if len(name) <= 100 else f"{name[:100]}..."
    return RefusedError(404, f"the bank has no task {shown!r}; GET /v2/models lists its tasks")


def checked_state(name: str, content: bytes, snapshot: Snapshot) -> TaskState:
    """Return the state in the bytes of a task, after everything was checked that would make it answer wrongly.

    Raises:
        RefusedError: it has statistics that the bank does not know, or answers with too few outputs.
        SupermasksError: it is not of this network, or damaged.
    """
    check_name(name)
    header, network = snapshot.bank.header, snapshot.network
    if len(content) > header.most_bytes():
        raise BankFormatError(f"a task of this bank has at most {header.most_bytes():,} bytes, got {len(content):,}")
    state = decode_state(content, name, header.layout, None, Path("the body"))
    network.check(state)
    check_answers(network, state)
    _check_outputs(network, state)
    moments, inference = snapshot.bank.moments, snapshot.predictor.inference
    if state.means is None and moments is not None and inference.statistics is not None:
        raise MaskError(
            f"task {name!r} lacks the statistics by which {type(inference).__name__} finds the task of an input; learn "
            "it over this bank, with its inference"
        )
    if state.means is not None and (moments is None or not moments.hold(state.means)):
        raise MaskError(
            f"task {name!r} has statistics for a router, but what its examples share is not in the bank; "
            + (
                "send it without: dataclasses.replace(state, means=None)"
                if moments is None or inference.statistics is None
                else "add it to the folder of the bank, by append or replace of BankFolder, with moments=..."
            )
        )
    return state


def _check_outputs(network: Network, state: TaskState) -> None:
    """Raise RefusedError unless the network takes inputs of the task, and has an output for each class."""
    inputs = torch.zeros(2, *state.input_shape, dtype=state.input_dtype)  # statistics of a batch need more than one
    try:
        with torch.no_grad():
            outputs = network.forward(inputs, network.effective(state)).shape[1]
    except (RuntimeError, ValueError, IndexError, TypeError) as error:
        raise RefusedError(400, f"the network cannot compute inputs of the shape {list(state.input_shape)}") from error
    if outputs < len(state.classes):
        raise RefusedError(
            400, f"task {state.name!r} has {len(state.classes)} classes, but the network {outputs} outputs"
        )
