"""A bank that answers requests: what the routes of the server call."""

import hmac
from collections.abc import Callable, Sequence
from typing import Literal

from torch import Tensor, nn

from supermasks.bank import BankFolder
from supermasks.errors import SupermasksError
from supermasks.inference import TaskInference
from supermasks.router import Auto
from supermasks.serving.asked import Asked
from supermasks.serving.batcher import Batcher
from supermasks.serving.jobs import Answer, Job, Named, StaleError, ToAll, Unnamed, compute, inputs_for
from supermasks.serving.living_bank import LivingBank, unknown
from supermasks.serving.metrics import Metrics
from supermasks.serving.refusal import RefusedError
from supermasks.serving.settings import ServerSettings
from supermasks.serving.snapshot import ALL, ANY, Snapshot, SnapshotMaker
from supermasks.serving.traffic import Traffic
from supermasks.state import TaskState

TRIES = 3
"""How often a request begins anew because the bank changed before it was read."""


class Service:
    """Answers with the tasks of a bank, which may change meanwhile.

    Args:
        folder: of the bank.
        backbone: a module of the architecture that the bank was learned with.
        inference: how the task of an input is found; None takes what the bank says.
        settings: limits and times.

    Raises:
        SupermasksError: the bank cannot be read, or was not learned over this backbone.

    Attributes:
        bank: with its present snapshot.
        ready: whether new requests are welcome; the server still answers those that come.
    """

    def __init__(
        self,
        folder: BankFolder,
        backbone: nn.Module,
        inference: TaskInference | Literal["auto"] | None,
        settings: ServerSettings,
    ) -> None:
        self.settings, self.traffic, self.ready = settings, Traffic(), False
        folder = BankFolder(folder.path, folder.relative, settings.wait, folder.most_weights)
        base = folder.open().network(backbone)
        maker = SnapshotMaker(folder, base, Auto() if inference == "auto" else inference, settings.cache_bytes)
        self.metrics = Metrics(lambda: self.batcher.waiting, lambda: len(self.snapshot), lambda: self.snapshot.bytes)
        self.bank = LivingBank(folder, maker, settings.watch, self.metrics.bank_failed)
        self.batcher = Batcher(settings, compute, self.metrics.computed)

    @property
    def snapshot(self) -> Snapshot:
        """The bank as it is now."""
        return self.bank.snapshot

    def start(self) -> None:
        """Begin to answer; an event loop is running."""
        self.batcher.start()
        self.bank.start()
        self.ready = True

    async def stop(self) -> None:
        """Answer what waits, and end."""
        self.ready = False
        await self.bank.stop()
        await self.batcher.stop()

    async def answer(self, name: str, asked: Asked) -> Answer:
        """Return the answer of a task, of the task that is found, or of many tasks.

        Args:
            name: of a task, or a reserved name.
            asked: the request.

        Raises:
            RefusedError: there is no such task, the inputs are not those of the task, or the server is too busy.
        """
        if name not in (ANY, ALL) and asked.tasks is not None:
            raise RefusedError(400, f"the tensor 'tasks' is for {ANY} and {ALL}; a task answers alone")
        outcome: object = None
        for _ in range(TRIES):
            outcome = await self.batcher.outcome(await self._job(name, asked))
            if not isinstance(outcome, StaleError):
                break
            try:
                await self.bank.refresh()
            except SupermasksError as error:
                raise outcome from error
        if isinstance(outcome, Exception):
            raise outcome
        return outcome  # pyright: ignore[reportReturnType]

    def allow(self, authorisation: str | None) -> None:
        """Raise RefusedError unless a client may change the bank.

        Args:
            authorisation: the header of this name.
        """
        token = self.settings.token
        if token is None:
            raise RefusedError(
                403, "this server has no token, so nobody can change its bank; start it with --token-file"
            )
        kind, _, given = (authorisation or "").partition(" ")
        same = hmac.compare_digest(given.strip().encode("utf-8", "replace"), token.encode())  # in constant time
        if kind.lower() != "bearer" or not same:
            raise RefusedError(401, "a change of the bank needs the header Authorization: Bearer TOKEN")

    async def _job(self, name: str, asked: Asked) -> Job:
        if name == ANY:
            return await self._unnamed(asked)
        if name == ALL:
            return await self._to_all(asked.inputs, asked.tasks)
        snapshot, state = await self.bank.state(self.snapshot, name)
        return Named(snapshot.network, inputs_for(asked.inputs, [state]), state)

    async def _unnamed(self, asked: Asked) -> Unnamed:
        snapshot, states = await self._settled(asked.tasks, lambda names: names[:1])
        snapshot.asked = True
        inputs_for(asked.inputs, states)  # so that wrong inputs are refused before they wait
        return Unnamed(snapshot, asked.inputs, asked.tasks)

    async def _to_all(self, raw: Tensor, tasks: tuple[str, ...] | None) -> ToAll:
        def few(names: Sequence[str]) -> Sequence[str]:
            if len(names) * len(raw) > self.settings.max_answers:
                raise RefusedError(
                    400,
                    f"a request may have at most {self.settings.max_answers} answers, got {len(raw)} rows times "
                    f"{len(names)} tasks; choose some tasks by the tensor 'tasks', or send fewer rows",
                )
            return names

        snapshot, states = await self._settled(tasks, few)
        return ToAll(snapshot.network, inputs_for(raw, states), tuple(states))

    async def _settled(
        self, tasks: tuple[str, ...] | None, needed: Callable[[Sequence[str]], Sequence[str]]
    ) -> tuple[Snapshot, list[TaskState]]:
        """Return one snapshot, and the states that it has of those tasks that are needed.

        Args:
            tasks: the names that the client sent; None stands for all.
            needed: returns the names of the tasks to read, among those.
        """
        for _ in range(TRIES):
            snapshot = self.snapshot
            names = needed(self._chosen(snapshot, tasks))
            states = await self._states(snapshot, names)
            if len(states) == len(names):
                return snapshot, states
        raise RefusedError(503, "the bank changes all the time; try again later", retry_after=1)

    async def _states(self, snapshot: Snapshot, names: Sequence[str]) -> list[TaskState]:
        """Return the states of tasks; only the first ones if the bank has changed meanwhile."""
        states = list[TaskState]()
        for name in names:
            of, state = await self.bank.state(snapshot, name)
            if of is not snapshot:
                break
            states.append(state)
        return states

    def _chosen(self, snapshot: Snapshot, tasks: tuple[str, ...] | None) -> Sequence[str]:
        names = snapshot.names if tasks is None else tasks
        if not names:
            raise RefusedError(400, "there are no tasks to choose among")
        if missing := [name for name in names if name not in snapshot]:
            raise unknown(missing[0])
        if len(set(names)) < len(names):
            raise RefusedError(400, "the tensor 'tasks' has a task twice")
        return names
