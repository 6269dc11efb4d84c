"""The stages of a method: trainings of one task, one after the other."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from supermasks.methods import Lesson, Method, Session
from supermasks.spec import describe
from supermasks.training.checkpoint import digest_of_past, remove_checkpoint
from supermasks.training.listening import Checkpoint, Listeners
from supermasks.training.loop import fit
from supermasks.training.probe import Look
from supermasks.training.report import Fit
from supermasks.training.settings import Training


def fit_stages(
    method: Method,
    lesson: Lesson,
    settings: Training,
    listeners: Listeners | None = None,
    checkpoint: Path | None = None,
) -> tuple[Session, Fit, bool]:
    """Begin a task, and train each stage of the method as `fit` does.

    Args:
        method: says what is trained, and in which stages.
        lesson: the task, and what it is learned over.
        settings: of all stages together; each gets its share.
        listeners: called after each step, counted over all stages. If one ends the training, no stage follows.
        checkpoint: the file to resume from, if it exists. Each stage but the last leaves its result in a file beside
            it; `forget_stages` removes these once the task is stored.

    Returns:
        The session of the last stage, trained; how the training went; and whether the probe of the network was clear
        (`Look.is_clear`).

    Raises:
        SupermasksError: everything that `Method.begin`, `Look` and `fit` raise.
    """
    parts = [settings.part(share) for share in method.stages]
    parts[1:] = [replace(part, head_first=0) for part in parts[1:]]  # by then the head is trained
    steps = [part.total_steps(len(lesson.task.train)) for part in parts]
    files, listeners, reports = _files(method, checkpoint), listeners or Listeners(), list[Fit]()
    look = Look(lesson.network, lesson.task, settings, lesson.seed)
    session = method.begin(lesson)
    unreached = look.unreached(session.effective)
    whole = {name: lesson.network.weights[name] for name in unreached}
    for number, part in enumerate(parts):
        following = session.next() if number else session
        if following is None:
            break
        session = following
        epochs = sum(steps[:number]) * settings.batch_size // len(lesson.task.train)
        report = fit(
            session,
            part,
            listeners.of_stage(steps, number, epochs),
            _checkpoint(files[number], method, lesson, number, whole),
            whole,
        )
        reports.append(report)
        if report.ended == "callback":
            break
    look.check_unchanged()
    return session, replace(Fit.joined(reports), unreached=unreached), look.is_clear


def forget_stages(method: Method, checkpoint: Path | None) -> None:
    """Remove the files that `fit_stages` left beside the checkpoint."""
    for file in _files(method, checkpoint):
        if file is not None:
            remove_checkpoint(file)


def _checkpoint(
    file: Path | None, method: Method, lesson: Lesson, stage: int, whole: Mapping[str, Tensor]
) -> Checkpoint | None:
    """Return the checkpoint of a stage. If a task builds on others, these must match before it is resumed."""
    if file is None:
        return None
    about = {
        "method": describe(method),
        "digest of weights": lesson.network.weights.over,
        "list of tasks before": list(lesson.past.names) if method.builds_on_past else [],
        "digest of tasks before": digest_of_past(lesson.past) if method.builds_on_past else "",
        "stage": stage,
        "list of whole weights": list(whole),
    }
    return Checkpoint(file, keep=stage + 1 < len(method.stages), about=about)


def _files(method: Method, checkpoint: Path | None) -> list[Path | None]:
    """Return the file of each stage; the last stage uses the given name."""
    if checkpoint is None:
        return [None] * len(method.stages)
    return [*(checkpoint.with_name(f"{checkpoint.name}.stage-{n}") for n in range(len(method.stages) - 1)), checkpoint]
