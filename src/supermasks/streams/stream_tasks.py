"""The tasks of a stream: which are still trained, which are closed, and how they compare on a batch."""

from collections.abc import Hashable, Sequence
from typing import Any

import torch
from torch import Tensor

from supermasks.brief import brief
from supermasks.errors import TaskError, UnknownTaskError
from supermasks.inference import Objective
from supermasks.inference.gradients import batch_gradient
from supermasks.inference.task_inference import listed_tasks, uniform
from supermasks.input_form import InputForm
from supermasks.learner import Learner
from supermasks.methods import Lesson
from supermasks.scores import Past
from supermasks.state import TaskState
from supermasks.streams.loss_trend import LossTrend
from supermasks.streams.open_task import OpenTask
from supermasks.superposition import Superposition
from supermasks.training import check_learnable
from supermasks.training.cross_entropy import CrossEntropy
from supermasks.training.probe import Look
from supermasks.types import Examples, Task

RECENT = 4
"""How many of its last batches an open task keeps, to judge masks by (`StreamLearner.consolidate`)."""


class StreamTasks:
    """The tasks of a stream. Tasks that are not open never change again.

    Args:
        learner: has no tasks yet; all tasks go into its bank.
        classes: the labels of all batches.
        prefix: of the names of tasks.
        most_open: how many tasks stay open; if there are more, the one that was least recently trained is closed. None
            closes no task.

    Attributes:
        learner: with all tasks in its bank. Those of `open` may be older there than they are (`store_open`).
        open: the tasks under training by name, the one trained last at the end.
        closed: the names of the closed tasks, in the order in which they were closed.
        trends: the losses of each task, in the order in which the tasks were opened.
        recent: the last batches of each open task, inputs and targets.
        form: of the raw inputs; None if unknown.
        count: how many tasks were opened, those that were dropped included.
    """

    def __init__(self, learner: Learner, classes: Sequence[Hashable], prefix: str, most_open: int | None) -> None:
        self.learner, self.classes, self.prefix, self.most_open = learner, tuple(classes), prefix, most_open
        self.open: dict[str, OpenTask] = {}
        self.closed: list[str] = []
        self.trends: dict[str, LossTrend] = {}
        self.recent: dict[str, list[tuple[Tensor, Tensor]]] = {}
        self.count = 0
        self.form: InputForm | None = None
        self._example: tuple[Tensor, Tensor] | None = None
        self._is_clear, self._unreached = False, tuple[str, ...]()
        self._snapshots: dict[str, tuple[int, TaskState]] = {}
        self._stored: dict[str, int] = {}
        self._superposition: Superposition | None = None

    @property
    def names(self) -> list[str]:
        """The names of the tasks, in the order in which they were opened."""
        return list(self.trends)

    def task(self, name: str, inputs: Tensor, targets: Tensor) -> Task:
        """Return a task whose examples are a batch.

        Args:
            name: of the task.
            inputs: `batch x ...`.
            targets: `batch`, indices of classes.
        """
        return Task(name, self.classes, Examples(inputs, targets), input_form=self.form)

    def next_name(self, further: int = 0) -> str:
        """Return the name of the next task that will be opened, or of one further on."""
        return f"{self.prefix}-{self.count + further:04d}"

    def begin(self, task: Task) -> OpenTask:
        """Return a task that begins its training; it is not among the tasks yet.

        Raises:
            SupermasksError: the network cannot learn it (`Look`).
        """
        learner = self.learner
        lesson = Lesson(learner.network, task, learner.seed, Past())
        if self._example is None:
            self._look(lesson)
        whole = {name: learner.network.weights[name] for name in self._unreached}
        return OpenTask(lesson, learner.method, learner.training, whole)

    def _look(self, lesson: Lesson) -> None:
        """Look at the network before anything is trained."""
        learner = self.learner
        check_learnable(learner.network, lesson.task, learner.training)
        look = Look(learner.network, lesson.task, learner.training, learner.seed)
        self._unreached = look.unreached(learner.method.begin(lesson))
        self._is_clear = look.is_clear

    def add(self, opened: OpenTask) -> None:
        """Add a task that was begun. If too many are open, close the one that was least recently trained.

        Raises:
            TrainingError: the task to close has values that are not finite; nothing has changed.
        """
        full = self.most_open is not None and len(self.open) >= self.most_open
        closing = next(iter(self.open)) if full else None
        state = None if closing is None else self.open[closing].finish(self._is_clear).state
        self.learner.bank.add(opened.snapshot())
        if closing is not None and state is not None:
            self._close(closing, state)
        self.count += 1
        if self._example is None:
            self._example = opened.examples
        self.open[opened.name], self.trends[opened.name] = opened, LossTrend()
        self.recent[opened.name] = []

    def note(self, name: str, loss: float, inputs: Tensor, targets: Tensor) -> None:
        """Note that a batch was learned. The trend of a closed task stays: it says what the task answers well."""
        if name in self.open:
            self.trends[name] = self.trends[name].plus(loss)
            self.open[name] = self.open.pop(name)
            self.recent[name] = [*self.recent[name][1 - RECENT :], (inputs, targets)]

    def _close(self, name: str, state: TaskState) -> None:
        """End the training of a task: from now on it never changes."""
        self.learner.bank.replace(state)
        del self.open[name], self.recent[name]
        self._stored.pop(name, None)
        self._snapshots.pop(name, None)
        self.closed.append(name)

    def drop(self, name: str) -> None:
        """Forget an open task."""
        self.learner.remove(name)
        for of in (self.open, self.trends, self.recent):
            del of[name]
        self._stored.pop(name, None)
        self._snapshots.pop(name, None)

    def store_open(self) -> None:
        """Write the open tasks into the bank as they are now."""
        for name, opened in self.open.items():
            if self._stored.get(name) != opened.steps:
                self.learner.bank.replace(opened.finish(self._is_clear).state)
                self._stored[name] = opened.steps

    def state(self, name: str) -> TaskState:
        """Return a task as it is now.

        Raises:
            UnknownTaskError: there is no such task.
        """
        if name not in self.trends:
            raise UnknownTaskError(f"expected one of the tasks of the stream, got {brief(name)}")
        opened = self.open.get(name)
        if opened is None:
            return self.learner.bank[name]
        held = self._snapshots.get(name)
        if held is None or held[0] != opened.steps:
            held = self._snapshots[name] = opened.steps, opened.snapshot()
        return held[1]

    def superposition(self) -> Superposition:
        """Return all tasks as they are now, mixed."""
        states = [self.state(name) for name in self.trends]
        if self._superposition is None:
            self._superposition = Superposition(self.learner.network, ())
        if list(self._superposition.states) != states:
            self._superposition = self._superposition.updated(states)
        return self._superposition

    def evidence(self, inputs: Tensor, objective: Objective, floor: int) -> Tensor:
        """Return `-dL/dalpha` of One-Shot for all tasks, and for new masks if there are fewer than `floor` tasks."""
        mixed = self.superposition()
        if len(mixed) < floor:
            named = (self.next_name(further) for further in range(floor - len(mixed)))
            unlearned = [self.begin(self.task(name, *self.example)).snapshot() for name in named]
            mixed = Superposition(self.learner.network, [*mixed.states, *unlearned])
        return -batch_gradient(mixed, inputs, uniform(mixed), objective, range(len(mixed)))

    def losses(self, names: Sequence[str], inputs: Tensor, targets: Tensor) -> dict[str, float]:
        """Return the loss of a batch for some tasks, as they would answer it now."""
        return {
            name: float(self.cross_entropy().mean(self._logits(name, inputs), self._on_device(targets)))
            for name in names
        }

    def accuracy(self, name: str, inputs: Tensor, targets: Tensor) -> float:
        """Return the share of a batch that a task answers rightly."""
        logits = self._logits(name, inputs)[:, : len(self.classes)]
        return float((logits.argmax(dim=1) == self._on_device(targets)).float().mean())

    def nearest(self, count: int, inputs: Tensor, targets: Tensor) -> list[str]:
        """Return the tasks along which the loss of a batch falls fastest, at equal coefficients."""
        if len(self.trends) <= count:
            return self.names
        mixed, mean, labels = self.superposition(), self.cross_entropy().mean, self._on_device(targets)

        def loss(logits: Tensor, classes: int) -> Tensor:
            del classes
            return mean(logits, labels)

        descent = -batch_gradient(mixed, inputs, uniform(mixed), loss, range(len(mixed)))
        return [self.names[i] for i in listed_tasks(descent, count)[0]]

    def cross_entropy(self) -> CrossEntropy:
        """Return the loss of all tasks."""
        task = self.task("any", *self.example)
        return CrossEntropy.of(task, self.learner.training, self.learner.network.device)

    @property
    def example(self) -> tuple[Tensor, Tensor]:
        """Inputs and targets of the first batch."""
        if self._example is None:
            raise TaskError("there are no tasks yet; observe a batch first")
        return self._example

    def described(self) -> dict[str, Any]:
        """Return what a checkpoint needs, beside the closed tasks, as tensors and plain data."""
        return {
            "names": self.names,
            "form": None if self.form is None else self.form.value,
            "example": None if self._example is None else list(self._example),
            "closed": list(self.closed),
            "count": self.count,
            "trends": [[trend.count, list(trend.last)] for trend in self.trends.values()],
            "open": {name: opened.state() for name, opened in self.open.items()},
            "recent": {name: [list(pair) for pair in batches] for name, batches in self.recent.items()},
        }

    def restore(self, described: dict[str, Any], closed: dict[str, TaskState]) -> None:
        """Set new tasks to what `described` returned.

        Args:
            described: from `described`.
            closed: the states of the closed tasks by name.
        """
        self.form = None if described["form"] is None else InputForm(described["form"])
        if described["example"] is not None:
            self._example = tuple(described["example"])
            self._look(Lesson(self.learner.network, self.task("any", *self.example), self.learner.seed, Past()))
        for name, state in described["open"].items():
            opened = self.begin(self.task(name, state["inputs"], state["targets"]))
            opened.restore(state)
            self.open[name] = opened
        for name in described["names"]:
            self.learner.bank.add(closed[name] if name in closed else self.open[name].snapshot())
        self.closed, self.count = list(described["closed"]), described["count"]
        for name, (count, last) in zip(described["names"], described["trends"], strict=True):
            self.trends[name] = LossTrend(count, tuple(last))
        self.recent = {name: [(x, t) for x, t in pairs] for name, pairs in described["recent"].items()}

    def _logits(self, name: str, inputs: Tensor) -> Tensor:
        network = self.learner.network
        with torch.no_grad():
            return network.forward(inputs, network.effective(self.state(name)))

    def _on_device(self, targets: Tensor) -> Tensor:
        return targets.to(self.learner.network.device)
