"""The trainings that a method makes of one task, one after the other."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

from torch import Tensor

from supermasks.methods import Method, Trainable
from supermasks.network import Network
from supermasks.scores import Past
from supermasks.spec import describe
from supermasks.training.checkpoint import remove_checkpoint
from supermasks.training.loop import Fit, Progress, fit
from supermasks.training.probe import probe
from supermasks.training.settings import Training
from supermasks.training.steps import Callback, Step
from supermasks.types import Task


def fit_stages(
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
) -> tuple[Trainable, Fit]:
    """Begin a task, and make each training that the method wants of it, as `fit` does.

    Args:
        network: computes logits.
        method: says what is trained, and in which stages.
        task: to train on.
        settings: of all stages together; each gets its share.
        seed: as in `fit`.
        past: what was learned before.
        progress: told of each step, counted over all stages.
        callbacks: get each step, counted over all stages; where one ends the training, no stage follows.
        checkpoint: as in `fit`. Of a stage that is not the last, what it has trained stays in a file beside it;
            `forget_stages` removes that once the task is kept.

    Returns:
        What was trained, and how it went.

    Raises:
        what `Method.begin`, `probe` and `fit` raise.
    """
    parts = [settings.part(share) for share in method.stages]
    steps = [part.total_steps(len(task.train)) for part in parts]
    files = _files(method, checkpoint)
    # A task that begins with others is another one after others.
    about = {
        "method": describe(method),
        "digest of weights": network.over,
        "list of tasks before": list(past.names) if method.builds_on_past else [],
    }
    trainable, reports = method.begin(network, task, seed, past), list[Fit]()
    unreached = probe(network, partial(method.effective, network, trainable), task, settings, seed)
    whole = {name: network.weights[name] for name in unreached}

    def effective(trainable: Trainable) -> Mapping[str, Tensor]:
        return {**method.effective(network, trainable), **whole}

    for number, part in enumerate(parts):
        if number:
            following = method.following(network, trainable, past)
            if following is None:
                break
            trainable = following
        epochs = sum(steps[:number]) * settings.batch_size // len(task.train)
        report = fit(
            network,
            trainable,
            partial(effective, trainable),
            task,
            part,
            seed,
            progress=None if progress is None else partial(_tell, progress, sum(steps[:number]), sum(steps)),
            callbacks=[partial(_pass_on, callback, steps, number, epochs) for callback in callbacks],
            checkpoint=files[number],
            keep=number + 1 < len(parts),
            about={**about, "stage": number},
            start_counts=number > 0,
        )
        reports.append(report)
        if report.ended == "callback":
            break
    return trainable, replace(Fit.joined(reports), unreached=unreached)


def forget_stages(method: Method, checkpoint: Path | None) -> None:
    """Remove what `fit_stages` has left beside the checkpoint."""
    for file in _files(method, checkpoint):
        if file is not None:
            remove_checkpoint(file)


def _files(method: Method, checkpoint: Path | None) -> list[Path | None]:
    """Return the file of each stage; that of the last has the name that was asked for."""
    if checkpoint is None:
        return [None] * len(method.stages)
    return [*(checkpoint.with_name(f"{checkpoint.name}.stage-{n}") for n in range(len(method.stages) - 1)), checkpoint]


def _tell(progress: Progress, before: int, total: int, done: int, of_stage: int) -> None:
    del of_stage
    progress(before + done, total)


def _pass_on(callback: Callback, steps: Sequence[int], stage: int, epochs: int, step: Step) -> Literal["stop"] | None:
    """Call a callback with a step of a stage, counted over all stages."""
    made = sum(steps[:stage]) + step.step
    return callback(replace(step, step=made, steps=sum(steps), epoch=epochs + step.epoch))
