"""A learner of streams: batch after batch, without task labels (SupSup, Section 3.4, scenario NNs)."""

import os
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import torch
from torch import Tensor, nn

from supermasks.arithmetic import computing_in
from supermasks.asking import Inputs, network_inputs
from supermasks.bank import MaskBank
from supermasks.bases import Base
from supermasks.brief import brief
from supermasks.data import make_task
from supermasks.data.gather import plain_labels
from supermasks.errors import ConfigError, LabelError, TaskError, TrainingError
from supermasks.inference import TaskInference
from supermasks.learner import Learner
from supermasks.learner_checks import check_part
from supermasks.methods import Method
from supermasks.network import Network
from supermasks.seeding import generator
from supermasks.spec import describe
from supermasks.streams.batch_scene import BatchScene
from supermasks.streams.consolidation import Dropped, consolidated
from supermasks.streams.loss_jump import LossJump
from supermasks.streams.loss_trend import LossTrend
from supermasks.streams.novelty_rule import Judged, NoveltyRule
from supermasks.streams.stream_file import read_stream, write_stream
from supermasks.streams.stream_tasks import StreamTasks
from supermasks.training import Training
from supermasks.training.layers import seeded_layers
from supermasks.types import Belief, Prediction

WhenFull = Literal["nearest", "refuse"]

CONSTANT = ("schedule", "warmup", "accumulate", "augmentation", "select_best", "head_first")
"""The settings of a training that need to know all steps or examples in advance."""


@dataclass(frozen=True)
class Observed:
    """What became of a batch.

    Attributes:
        batch: its number, from 0.
        task: the task that it was learned as.
        new: whether a mask was opened for it.
        trained: whether the task was trained on it; a closed task that returns is not.
        loss: of the batch before the step, in nats.
        scores: what the rule compared, by task, larger is nearer; empty where it did not look at the other tasks.
    """

    batch: int
    task: str
    new: bool
    trained: bool
    loss: float
    scores: Mapping[str, float] = field(default_factory=dict[str, float])


class StreamLearner:
    """Learns from an endless stream of batches with class labels, but without task labels.

    Before it learns from a batch, a rule decides whether the present task goes on, an earlier one returns, or a new one
    begins. A new task gets a mask of its own. Only the tasks trained last are open; all others never change again, bit
    for bit.

    Args:
        backbone: as for `Learner`.
        classes: the labels of all batches, in the order of the outputs.
        seed: as for `Learner`.
        base: as for `Learner`.
        method: as for `Learner`; its tasks must not build on each other.
        training: the optimiser and the loss; the number of steps and the size of batches do not matter. Schedules,
            augmentation and selection of the best epoch are not possible.
        inference: how `predict` finds the task of unlabelled inputs.
        novelty: decides when a mask is opened.
        open_tasks: how many tasks are kept ready for more training. None keeps all, which takes the memory of their
            scores.
        max_tasks: the most tasks; None for any number.
        when_full: what becomes of a new task when there are `max_tasks`: it is learned as the "nearest" task (SupSup,
            Section 4.3), or `observe` will "refuse" it.
        prefix: of the names of tasks.
        token_ids: whether inputs are token ids, as in `make_task`.

    Attributes:
        batches: how many batches were observed.
        seed: of everything random.

    Raises:
        ConfigError: a part is not of its kind, or does not work for streams.

    Example:
        >>> from supermasks.nets import fully_connected
        >>> from supermasks.training import RMSprop
        >>> training = Training(optimiser=RMSprop(3e-3))
        >>> learner = StreamLearner(fully_connected([2, 32, 8]), classes=["x", "y"], training=training)
        >>> x = torch.tensor([[1.0, 0.0], [0.0, 1.0]]).repeat(8, 1)
        >>> seen = [learner.observe(x, ["x", "y"] * 8) for _ in range(60)]
        >>> seen[0].new, seen[-1].task, learner.tasks
        (True, 'task-0000', ['task-0000'])
        >>> learner.predict(x[:2]).labels
        ['x', 'y']
    """

    def __init__(
        self,
        backbone: nn.Module | Network,
        classes: Sequence[Hashable],
        *,
        seed: int = 0,
        base: Base | None = None,
        method: Method | None = None,
        training: Training | None = None,
        inference: TaskInference | Literal["auto"] | None = None,
        novelty: NoveltyRule | None = None,
        open_tasks: int | None = 4,
        max_tasks: int | None = None,
        when_full: WhenFull = "nearest",
        prefix: str = "task",
        token_ids: bool = False,
    ) -> None:
        learner = Learner(backbone, seed=seed, base=base, method=method, training=training, inference=inference)
        self.novelty: NoveltyRule = LossJump() if novelty is None else novelty
        check_part("novelty", self.novelty, NoveltyRule, "supermasks.streams.LossJump()")
        labels = plain_labels(list(classes), "StreamLearner(classes=...)")
        if not labels or len(set(labels)) != len(labels):
            raise LabelError(f"classes must be different labels, at least one, got {brief(labels)}")
        for what, value in (("open_tasks", open_tasks), ("max_tasks", max_tasks)):
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise ConfigError(f"{what} must be at least 1, or None for any number, got {brief(value)}")
        if when_full not in ("nearest", "refuse"):
            raise ConfigError(f'when_full must be "nearest" or "refuse", got {brief(when_full)}')
        _check_for_streams(learner)
        self.seed, self.max_tasks, self.when_full = learner.seed, max_tasks, when_full
        self.batches = 0
        self._token_ids = token_ids
        self._tasks = StreamTasks(learner, labels, prefix, open_tasks)
        self._numbers = {label: number for number, label in enumerate(labels)}
        self._current = self._previous = ""
        self._homes = set[Path]()
        self._identity()  # rejects a rule that cannot be stored

    def __repr__(self) -> str:
        return f"StreamLearner({self.batches:,} batches; {self._tasks.learner!r}; {type(self.novelty).__name__})"

    @property
    def learner(self) -> Learner:
        """The learner with all tasks as they are now, to predict, calibrate, export and share.

        Its tasks belong to the stream: do not add, remove or rename any.
        """
        self._tasks.store_open()
        return self._tasks.learner

    @property
    def bank(self) -> MaskBank:
        """The states of all tasks as they are now."""
        return self.learner.bank

    @property
    def tasks(self) -> list[str]:
        """The names of the tasks, in the order in which they were opened."""
        return self._tasks.names

    @property
    def open_tasks(self) -> list[str]:
        """The names of the tasks that can still be trained, the one trained last at the end."""
        return list(self._tasks.open)

    @property
    def classes(self) -> tuple[Hashable, ...]:
        """The labels of all batches."""
        return self._tasks.classes

    def trend(self, task: str) -> LossTrend:
        """Return the losses of a task.

        Raises:
            UnknownTaskError: there is no such task.
        """
        self._tasks.state(task)
        return self._tasks.trends[task]

    def observe(self, inputs: Inputs, labels: object) -> Observed:
        """Learn from a batch. If anything fails, nothing is learned from it.

        Args:
            inputs: `batch x ...`, as `make_task` takes them, always in one form; about as many in each batch.
            labels: one for each input, among the classes.

        Raises:
            InputError: the inputs are not finite, or their shape or form differs from that of the first batch.
            LabelError: a label is not among the classes, or there is not one for each input.
            TaskError: there are `max_tasks` tasks, the batch is of a new one, and `when_full` is "refuse".
            TrainingError: the loss is not finite, or the network refuses the batch.
        """
        with torch.inference_mode(False):
            x, targets = self._batch(inputs, labels)
        device = self._tasks.learner.network.device
        random = generator(self.seed, "stream", str(self.batches))
        with (
            torch.inference_mode(False),
            torch.enable_grad(),
            computing_in(torch.float32, device),
            seeded_layers(device, random),
        ):
            scene = BatchScene(self._tasks, self._current, self._previous, self.batches, x, targets)
            judged = self.novelty.judge(scene) if self._current else Judged(True, "", {})
            if judged is not None and not isinstance(judged, Judged):  # pyright: ignore - a rule of a user
                raise ConfigError(f"a novelty rule must return a Judged, or None, got {brief(judged)}")
            return self._learn(scene, judged)

    def consolidate(self, tolerance: float = 0.01) -> list[Dropped]:
        """Drop open tasks whose recent batches another task answers as well, as after a false alarm.

        Each open task keeps its last 4 batches. It is dropped if another task answers these with at most `tolerance`
        less accuracy; the tasks trained on the fewest batches are dropped first. Closed tasks are never dropped.

        Args:
            tolerance: of accuracy, as a fraction.

        Returns:
            what was dropped, in favour of what, and the accuracies of both.
        """
        if not 0 <= tolerance < 1:
            raise ConfigError(f"tolerance must be a fraction, at least 0 and below 1, got {brief(tolerance)}")
        dropped = consolidated(self._tasks, tolerance)
        into = {each.task: each.into for each in dropped}
        while self._current in into:
            self._current = into[self._current]
        if self._previous in into or self._previous == self._current:
            self._previous = ""
        return dropped

    def predict(self, inputs: Inputs, task: str | None = None, **options: Any) -> Prediction:
        """Return the label of each input; see `Learner.predict`."""
        self._require_tasks()
        return self.learner.predict(inputs, task, **options)

    def infer(self, inputs: Inputs, **options: Any) -> Belief:
        """Return to which task inputs belong; see `Learner.infer`."""
        self._require_tasks()
        return self.learner.infer(inputs, **options)

    def score(self, inputs: Inputs, labels: object, task: str | None = None, **options: Any) -> float:
        """Return the fraction of inputs that `predict` labels rightly; see `Learner.score`."""
        self._require_tasks()
        return self.learner.score(inputs, labels, task, **options)

    def save(self, folder: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Write the bank, which `Learner.load` opens. To resume the stream itself, use `checkpoint`."""
        self.learner.save(folder, overwrite=overwrite)

    def checkpoint(self, folder: str | os.PathLike[str]) -> None:
        """Write all that the rest of the stream depends on; `resume` continues from it with the same bits.

        A process that is killed while it writes leaves the previous checkpoint. The folder holds a bank of the closed
        tasks, to which each checkpoint adds, and a file with the open tasks. That file also has their last batches,
        with the inputs.

        Args:
            folder: made if needed.

        Raises:
            StorageError: the folder cannot be written.
            RunStateError: it holds a checkpoint that this learner has neither written nor resumed.
        """
        path = Path(folder).resolve()
        own = {"batches": self.batches, "current": self._current, "previous": self._previous}
        write_stream(path, self._tasks, self._identity(), own, ours=path in self._homes)
        self._homes.add(path)

    def resume(self, folder: str | os.PathLike[str]) -> int:
        """Set this new learner to a checkpoint, and return how many batches it had observed: feed it the next one.

        Args:
            folder: as given to `checkpoint`.

        Raises:
            ConfigError: this learner has observed batches already.
            RunStateError: the checkpoint is missing or damaged, or is of a stream with other settings.
            StorageError: it cannot be read.
        """
        if self.batches:
            raise ConfigError(f"only a new learner can resume a stream, this one has observed {self.batches} batches")
        path = Path(folder).resolve()
        own = read_stream(path, self._tasks, self._identity())
        self._homes.add(path)
        self.batches, self._current, self._previous = own["batches"], own["current"], own["previous"]
        return self.batches

    def _require_tasks(self) -> None:
        if not self.tasks:
            raise TaskError(
                "no batch was observed yet, so nothing can be predicted; call observe(inputs, labels) first"
            )

    def _learn(self, scene: BatchScene, judged: Judged | None) -> Observed:
        tasks, x, targets = self._tasks, scene.inputs, scene.targets
        name, new = self._destination(judged)
        doubtful = judged.doubtful if judged is not None and scene.is_open(self._current) else 0
        opened = tasks.begin(tasks.task(name, x, targets)) if new else tasks.open.get(name)
        if opened is None:
            value = tasks.losses([name], x, targets)[name]
        else:
            looked = scene.looked(opened)
            value = float(looked.loss.detach())
            if not isfinite(value):
                raise TrainingError(
                    f"the loss of batch {self.batches} is {value}; lower the learning rate, or check the inputs"
                )
            opened.step(looked)
            if new:
                tasks.add(opened)
        tasks.note(name, value, x, targets)
        if name != self._current:
            if doubtful:
                tasks.trends[self._current] = tasks.trends[self._current].without(doubtful)
            self._previous, self._current = self._current, name
        self.batches += 1
        scores = {} if judged is None else judged.scores
        return Observed(self.batches - 1, name, new, opened is not None, value, MappingProxyType(dict(scores)))

    def _destination(self, judged: Judged | None) -> tuple[str, bool]:
        """Return the task that a batch is learned as, and whether it is new."""
        if judged is None:
            return self._current, False
        if not judged.new:
            return judged.nearest, False
        if self.max_tasks is None or len(self.tasks) < self.max_tasks:
            return self._tasks.next_name(), True
        if self.when_full == "refuse":
            raise TaskError(
                f"batch {self.batches} is of a new task, but there are {len(self.tasks)} tasks, as many as max_tasks "
                'allows; raise max_tasks, or set when_full="nearest"'
            )
        return judged.nearest, False

    def _batch(self, inputs: Inputs, labels: object) -> tuple[Tensor, Tensor]:
        if not self.tasks:
            first = make_task("the first batch", (inputs, labels), classes=self.classes, token_ids=self._token_ids)
            self._tasks.form = first.input_form
            return first.train.batch(torch.arange(len(first.train)))
        state = self._tasks.state(self.tasks[0])
        # Copied: a caller may write the next batch into the same tensor, and some batches are kept.
        x = network_inputs(inputs, state, state.input_form).detach().clone()
        given = plain_labels(labels, "observe(inputs, labels)")
        if len(given) != len(x):
            raise LabelError(f"each input must have one label, got {len(x)} inputs and {len(given)} labels")
        if unknown := [label for label in given if label not in self._numbers]:
            raise LabelError(f"a label must be among the classes {brief(self.classes)}, got {brief(unknown[0])}")
        return x, torch.tensor([self._numbers[label] for label in given])

    def _identity(self) -> dict[str, Any]:
        learner = self._tasks.learner
        return {
            "network": learner.network.fingerprint,
            "seed": self.seed,
            "method": describe(learner.method),
            "training": describe(learner.training),
            "novelty": describe(self.novelty),
            "list of classes": [repr(label) for label in self.classes],
            "prefix": self._tasks.prefix,
            "open_tasks": self._tasks.most_open,
            "max_tasks": self.max_tasks,
            "when_full": self.when_full,
        }


def _check_for_streams(learner: Learner) -> None:
    """Raise ConfigError if the method or the training cannot learn without an end."""
    method, training, usual = learner.method, learner.training, Training()
    if method.builds_on_past or len(method.stages) > 1:
        raise ConfigError(
            f"a stream needs a method whose tasks are trained in one stage and do not build on each other, got "
            f"{describe(method)}; choose for example SupSup()"
        )
    if changed := [name for name in CONSTANT if getattr(training, name) != getattr(usual, name)]:
        raise ConfigError(
            f"a stream has no end, so it cannot be trained with {', '.join(changed)}; leave these settings out, and "
            "augment batches before observe()"
        )
    if training.class_weights == "balanced":
        raise ConfigError('class_weights="balanced" counts all examples of a task; give a number for each class')
    if learner.inference.statistics is not None:
        raise ConfigError(
            f"{type(learner.inference).__name__} counts statistics of whole tasks, which a stream does not have; "
            "choose an inference that asks the masks, such as OneShot()"
        )
