"""The trainings that a method makes of one task, one after the other."""

from functools import partial
from pathlib import Path

from supermasks.methods import Method, Trainable
from supermasks.network import Network
from supermasks.scores import Past
from supermasks.spec import describe
from supermasks.training.checkpoint import remove_checkpoint
from supermasks.training.loop import Fit, Progress, fit
from supermasks.training.settings import Training
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
        checkpoint: as in `fit`. Of a stage that is not the last, what it has trained stays in a file beside it;
            `forget_stages` removes that once the task is kept.

    Returns:
        What was trained, and how it went.

    Raises:
        what `Method.begin` and `fit` raise.
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
    for number, part in enumerate(parts):
        if number:
            following = method.following(network, trainable, past)
            if following is None:
                break
            trainable = following
        report = fit(
            network,
            trainable,
            partial(method.effective, network, trainable),
            task,
            part,
            seed,
            progress=None if progress is None else partial(_tell, progress, sum(steps[:number]), sum(steps)),
            checkpoint=files[number],
            keep=number + 1 < len(parts),
            about={**about, "stage": number},
            start_counts=number > 0,
        )
        reports.append(report)
    return trainable, Fit.joined(reports)


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
