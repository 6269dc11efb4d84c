"""From a task to its state: what a learner does with one task, here or in another process."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from supermasks.arithmetic import computing_in
from supermasks.errors import InputError, LabelError, TrainingError
from supermasks.methods import Method, Trainable
from supermasks.network import Network, check_inputs
from supermasks.scores import Past
from supermasks.state import INPUT_TYPES, TaskState
from supermasks.training.loop import Fit, Progress
from supermasks.training.settings import Training
from supermasks.training.stages import fit_stages
from supermasks.training.statistics import with_statistics
from supermasks.training.steps import Callback
from supermasks.trial import trial_answers
from supermasks.types import Task, TaskStream


@dataclass(frozen=True, eq=False)
class LearnedTask:
    """A task that was learned.

    Attributes:
        state: what is kept of it.
        memory: what the next tasks may begin with.
        fit: how its training went.
    """

    state: TaskState
    memory: Mapping[str, Tensor]
    fit: Fit


def check_learnable(network: Network, task: Task) -> None:
    """Raise InputError if the network cannot take the inputs of a task, or LabelError if it has too few outputs."""
    inputs, seen = task.train.inputs, two_of(task)
    if seen.dtype not in INPUT_TYPES:
        raise InputError(
            f"the network is given float32, or int64 for token ids, but the inputs of task {task.name!r} are "
            f"{seen.dtype}; convert them with .float(), or by the view of the examples"
        )
    if isinstance(inputs, Tensor):
        check_inputs(inputs, tuple(inputs.shape[1:]), inputs.dtype)
    outputs = network.outputs(seen)
    if network.head is None and len(task.classes) > outputs:
        raise LabelError(
            f"task {task.name!r} has {len(task.classes)} classes, but the backbone has {outputs} outputs; "
            "build it with at least as many, and some more for superfluous neurons"
        )


def two_of(task: Task) -> Tensor:
    """Return the first and the last training input of a task, `2 x ...`."""
    return task.train.batch(torch.tensor([0, len(task.train) - 1]))[0]


def learn_task(
    network: Network,
    method: Method,
    task: Task,
    settings: Training,
    seed: int,
    past: Past,
    *,
    progress: Progress | None = None,
    callbacks: Sequence[Callback] = (),
    checkpoint: Path | None = None,
) -> LearnedTask:
    """Train one task, and turn what was trained into its state.

    Args:
        network: with the weights that earlier tasks have left.
        method: says what is trained, and what is kept of it.
        task: to learn.
        settings: of the training.
        seed: of the learner.
        past: what was learned before.
        progress: told of each step.
        callbacks: as in `fit_stages`.
        checkpoint: as in `fit_stages`.

    Raises:
        InputError: the inputs are not finite, or of a shape that the backbone does not take.
        LabelError: there are more classes than the backbone has outputs.
        TrainingError: training diverged, or the mask keeps no weight of some layer.
        and what `fit_stages` raises.
    """
    check_learnable(network, task)
    with torch.inference_mode(False), torch.enable_grad(), computing_in(torch.float32, network.device):
        trainable, fitted = fit_stages(
            network, method, task, settings, seed, past, progress=progress, callbacks=callbacks, checkpoint=checkpoint
        )
        return finish_task(network, method, task, trainable, settings, seed, past, fitted)


def finish_task(
    network: Network,
    method: Method,
    task: Task,
    trainable: Trainable,
    settings: Training,
    seed: int,
    past: Past,
    fitted: Fit,
) -> LearnedTask:
    """Return what is kept of a task whose training has ended.

    Raises:
        TrainingError: the mask keeps no weight of some layer.
    """
    learned = method.finish(network, trainable, past).without(fitted.unreached, network.shapes)
    empty = [name for name, kept in learned.mask.counts().items() if kept == 0]
    if empty:
        raise TrainingError(
            f"the mask keeps no weight of {empty}, so that the network cannot answer; lower the threshold"
        )
    state = TaskState(
        task.name,
        task.classes,
        task.train.shape,
        learned.mask,
        network.changed(trainable.buffers),
        learned.dense,
        task.train.dtype,
        learned.owned,
        network.over,
        input_form=task.input_form,
    )
    state, rounding = with_statistics(network, state, task, settings, seed)
    state = replace(state, answers=trial_answers(network.writing(state), state))
    return LearnedTask(state, learned.memory, replace(fitted, rounding=rounding))


@dataclass(frozen=True, eq=False)
class LearnApart:
    """Learns the tasks of a stream one by one, each as if it were the first: a job for workers.

    What a task draws at random depends on the seed and its name alone, so that it does not matter where it is learned.

    Attributes:
        network: with nothing written into it.
        method: of which no task begins with what another has learned.
        training: how.
        seed: of the learner.
        tasks: to learn.
    """

    network: Network
    method: Method
    training: Training
    seed: int
    tasks: TaskStream

    def __call__(self, index: int) -> LearnedTask:
        """Learn the task at `index`."""
        return learn_task(self.network, self.method, self.tasks[index], self.training, self.seed, Past())
