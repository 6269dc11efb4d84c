"""What a rule can ask about a batch of a stream, before anything is learned from it."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from supermasks.inference import Objective
from supermasks.streams.loss_trend import LossTrend
from supermasks.streams.open_task import Looked, OpenTask
from supermasks.streams.stream_tasks import StreamTasks


class BatchScene:
    """A batch before it is learned (`Scene`).

    Args:
        tasks: of the stream.
        current: the task of the batch before.
        previous: the task before that one; "" if there is none.
        batch: its number.
        inputs: `batch x ...`.
        targets: `batch`, indices of classes.
    """

    def __init__(
        self, tasks: StreamTasks, current: str, previous: str, batch: int, inputs: Tensor, targets: Tensor
    ) -> None:
        self.inputs, self.targets = inputs, targets
        self._tasks, self._current, self._previous, self._batch = tasks, current, previous, batch
        self._looked: Looked | None = None

    @property
    def batch(self) -> int:
        return self._batch

    @property
    def names(self) -> Sequence[str]:
        return self._tasks.names

    @property
    def current(self) -> str:
        return self._current

    @property
    def previous(self) -> str | None:
        return self._previous or None

    def is_open(self, name: str) -> bool:
        return name in self._tasks.open

    def trend(self, name: str) -> LossTrend:
        return self._tasks.trends[name]

    def loss(self) -> float:
        opened = self._tasks.open.get(self._current)
        if opened is None:
            return self.losses([self._current])[self._current]
        return float(self.looked(opened).loss.detach())

    def losses(self, names: Sequence[str]) -> Mapping[str, float]:
        return self._tasks.losses(names, self.inputs, self.targets)

    def nearest(self, count: int) -> Sequence[str]:
        return self._tasks.nearest(count, self.inputs, self.targets)

    def evidence(self, objective: Objective, floor: int) -> Tensor:
        return self._tasks.evidence(self.inputs, objective, floor)

    def looked(self, opened: OpenTask) -> Looked:
        """Return the look of a task at the batch; that of the current task is taken once."""
        if opened.name != self._current:
            return opened.look(self.inputs, self.targets)
        if self._looked is None:
            self._looked = opened.look(self.inputs, self.targets)
        return self._looked
