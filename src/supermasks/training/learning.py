"""Learn one task: from the task to its state, in this process or in another one."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from supermasks.arithmetic import computing_in
from supermasks.batch_checks import check_inputs
from supermasks.changes import Replaced, Unchanged
from supermasks.errors import ConfigError, InputError, TrainingError
from supermasks.methods import Learned, Lesson, Method, Session
from supermasks.moments import ClassMeans, Moments
from supermasks.network import Network
from supermasks.router import collect
from supermasks.scores import Past
from supermasks.state import TaskState
from supermasks.task_info import INPUT_TYPES
from supermasks.training.layers import seeded_reading
from supermasks.training.listening import Listeners
from supermasks.training.report import Fit
from supermasks.training.session_checks import checked_learned
from supermasks.training.settings import Training
from supermasks.training.stages import fit_stages
from supermasks.training.statistics import measured_buffers, rounded
from supermasks.trial import trial_answers
from supermasks.types import Task, TaskStream
from supermasks.weights import content_digest


@dataclass(frozen=True, eq=False)
class LearnedTask:
    """A learned task.

    Attributes:
        state: of the task.
        memory: what the next tasks may begin with.
        weights: all shared weights, if the task has trained them.
        fit: how its training went.
        moments: what was counted of the task alone, to recognise its inputs by; None if nothing was.
    """

    state: TaskState
    memory: Mapping[str, Tensor]
    weights: Mapping[str, Tensor] | None
    fit: Fit
    moments: Moments | None = None

    def counted(self, network: Network, task: Task, empty: Moments | None, seed: int) -> "LearnedTask":
        """Return the learned task with what is counted of its training examples.

        Args:
            network: over the weights of its base.
            task: that was learned.
            empty: says what is counted; None counts nothing.
            seed: of the learner.
        """
        if empty is None:
            return self
        means, moments = count(network, task, empty, seed)
        return replace(self, state=replace(self.state, means=means), moments=moments)


def count(network: Network, task: Task, empty: Moments, seed: int) -> tuple[ClassMeans, Moments]:
    """Count the training examples of a task, as `collect` does.

    Args:
        network: over the weights of its base.
        task: to count.
        empty: says what is counted.
        seed: of the learner; it determines random transforms of the inputs.
    """
    with seeded_reading(network.device, seed, task.name, "count"):
        return collect(network, task.train, len(task.classes), empty)


def check_learnable(network: Network, task: Task, settings: Training) -> None:
    """Raise InputError unless the inputs of a task are finite, and float32 or int64.

    Inputs that several tasks share are checked once.

    Raises:
        ConfigError: batch-norm statistics are to be measured, but the tasks of the network have none.
    """
    normalisation = network.backbone.normalisation
    if settings.statistics_batches and not normalisation.measured:
        what = f'has norm="{normalisation.policy}"' if normalisation.layers else "has no layer of batch normalisation"
        raise ConfigError(
            f"statistics_batches={settings.statistics_batches} measures batch-norm statistics for each task, but the "
            f"network {what}; leave it out"
        )
    with seeded_reading(network.device, 0, task.name, "check"):
        inputs, seen = task.train.inputs, two_of(task)
    if seen.dtype not in INPUT_TYPES:
        raise InputError(
            f"expected float32 inputs, or int64 for token ids, got {seen.dtype} for task {task.name!r}; convert them "
            "with .float(), or by the view of the examples"
        )
    if isinstance(inputs, Tensor) and inputs not in network.finite:
        check_inputs(inputs, tuple(inputs.shape[1:]), inputs.dtype)
        network.finite.add(inputs)


def two_of(task: Task) -> Tensor:
    """Return the first and the last training input of a task, `2 x ...`."""
    return task.train.batch(torch.tensor([0, len(task.train) - 1]))[0]


def learn_task(
    method: Method,
    lesson: Lesson,
    settings: Training,
    listeners: Listeners | None = None,
    checkpoint: Path | None = None,
) -> LearnedTask:
    """Train one task, and return its state.

    Args:
        method: says what is trained and stored.
        lesson: the task, and what it is learned over.
        settings: of the training.
        listeners: as in `fit_stages`.
        checkpoint: as in `fit_stages`.

    Raises:
        InputError: the inputs are not finite, or the backbone does not take their shape.
        ConfigError: the task has trained shared weights, and the method does not say so.
        LabelError: the task has more classes than the backbone has outputs.
        TrainingError: the training diverged, or the mask keeps no weight of some layer.
        SupermasksError: everything that `fit_stages` raises.
    """
    check_learnable(lesson.network, lesson.task, settings)
    with torch.inference_mode(False), torch.enable_grad(), computing_in(torch.float32, lesson.network.device):
        with seeded_reading(lesson.network.device, lesson.seed, lesson.task.name, "begin"):
            session, fitted, is_clear = fit_stages(method, lesson, settings, listeners, checkpoint)
        return finish_task(method, session, settings, fitted, is_clear)


def finished(method: Method, session: Session, unreached: Collection[str]) -> Learned:
    """Return what a session has learned.

    Args:
        method: of the session.
        session: of the task, trained.
        unreached: the names of weights that no gradient reaches; they have no change.

    Raises:
        ConfigError: the session does not return what it must, or the task has trained shared weights, and the method
            does not say so.
    """
    learned = checked_learned(session, session.finish(), unreached).without(unreached, session.network.shapes)
    if learned.weights is None and learned.owned is None:
        return learned
    said = {"writes": method.writes, "builds_on_past": method.builds_on_past}
    # Without a task before, no answer can change. A bank refuses exclusive weights that would change one.
    if len(session.lesson.past.states) and (learned.owned is None or not learned.owned.exclusive):
        said["forgets"] = method.forgets
    if lacking := [name for name, value in said.items() if not value]:
        false, name = " and ".join(f"{each} = False" for each in lacking), session.lesson.task.name
        free = "; or give Owned exclusive=True, if no earlier task uses what it owns"
        raise ConfigError(
            f"task {name!r} has trained shared weights, but {type(method).__name__} has {false}; set it to True in the "
            f"class{free if 'forgets' in lacking and learned.owned is not None else ''}"
        )
    return learned


def finish_task(
    method: Method, session: Session, settings: Training, fitted: Fit, is_clear: bool = False
) -> LearnedTask:
    """Return the state of a trained task.

    Args:
        method: of the session.
        session: of the task, trained.
        settings: of the training.
        fitted: how it went.
        is_clear: the probe of the network was clear (`Look.is_clear`), so that its answers can be compared later.

    Raises:
        ConfigError: the session does not return what it must, or the task has trained shared weights, and the method
            does not say so.
        TrainingError: the mask keeps no weight of some layer.
    """
    lesson = session.lesson
    with seeded_reading(lesson.network.device, lesson.seed, lesson.task.name, "finish"):
        return _left_by(method, session, settings, fitted, is_clear)


def _left_by(method: Method, session: Session, settings: Training, fitted: Fit, is_clear: bool) -> LearnedTask:
    lesson, network = session.lesson, session.network
    trained = dict[str, Tensor]()
    if settings.statistics_batches:  # before the method finishes: it may measure the network that answers
        with torch.no_grad():
            trained = session.effective()
        session.buffers = measured_buffers(network, {**network.weights, **trained}, lesson, settings)
    learned = finished(method, session, fitted.unreached)
    state, written, weights = _left(session, learned, network.changed(session.buffers))
    empty = [name for name, kept in state.mask.counts().items() if kept == 0]
    if empty:
        raise TrainingError(f"the mask keeps no weight of {empty}, so the network cannot answer; lower the threshold")
    if trained:
        stored = {**written.fresh_buffers(), **written.effective(state)}
        if any(not torch.equal(trained[name], stored[name]) for name in trained.keys() - session.buffers.keys()):
            buffers = measured_buffers(written, stored, lesson, settings)  # what is stored may be rounded
            state, written, weights = _left(session, learned, network.changed(buffers))
    state, rounding = rounded(written, state, lesson, settings)
    written.check_once(state)  # a trial raises nothing
    state = replace(state, answers=trial_answers(written, state, is_clear))
    return LearnedTask(state, learned.memory, weights, replace(fitted, rounding=rounding))


def _left(
    session: Session, learned: Learned, buffers: Mapping[str, Tensor]
) -> tuple[TaskState, Network, Mapping[str, Tensor] | None]:
    """Return the state of a task, the network that it leaves, and the shared weights if it has trained all of them.

    A task that uses shared weights as they are computes with those of the last task. So it must have the statistics of
    the last task, too: the buffers then belong to the shared weights. It may replace some weights, such as a last
    layer, by its own.
    """
    network, weights = session.network, learned.weights
    kinds = {type(learned.changes.get(name)) for name in network.shapes}
    if weights is not None and Unchanged in kinds and kinds <= {Unchanged, Replaced}:
        weights, buffers = {**weights, **buffers}, dict[str, Tensor]()
    replaced = "" if weights is None else content_digest(weights)
    info, over = session.lesson.task.info, network.weights.over
    state = TaskState(info, learned.changes, buffers, learned.owned, over, replaced)
    return state, network.writing(state, weights), weights


@dataclass(frozen=True, eq=False)
class LearnApart:
    """A job for workers: learns the tasks of a stream, each as if it were the first.

    The random numbers of a task depend only on the seed and its name, so it does not matter where it is learned.

    Attributes:
        network: over the weights of its base.
        method: its tasks must not build on each other.
        training: settings of the training.
        seed: of the learner.
        tasks: to learn.
        counted: says what is counted of each task (`Statistics.begin`); None counts nothing.
    """

    network: Network
    method: Method
    training: Training
    seed: int
    tasks: TaskStream
    counted: Moments | None = None

    def __call__(self, index: int) -> LearnedTask:
        """Learn the task at `index`."""
        task = self.tasks[index]
        learned = learn_task(self.method, Lesson(self.network, task, self.seed, Past()), self.training)
        return learned.counted(self.network, task, self.counted, self.seed)
