"""The stages of a method: trainings of one task, one after the other."""

from collections.abc import Mapping
from dataclasses import replace
from math import isclose
from pathlib import Path
from typing import Any

from torch import Tensor

from supermasks.brief import brief
from supermasks.errors import ConfigError
from supermasks.methods import Lesson, Method, Session
from supermasks.spec import describe
from supermasks.training.checkpoint import digest_of_past, remove_checkpoint
from supermasks.training.draws import Draws
from supermasks.training.listening import Checkpoint, Listeners
from supermasks.training.loop import fit
from supermasks.training.probe import Look
from supermasks.training.report import Fit
from supermasks.training.session_checks import begun, next_of
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
        settings: of all stages together; each gets its share of the steps, and goes on with the examples where the
            one before has stopped.
        listeners: called after each step, counted over all stages. If one ends the training, no stage follows.
        checkpoint: the file to resume from, if it exists. Each stage but the last leaves its result in a file beside
            it; `forget_stages` removes these once the task is stored.

    Returns:
        The session of the last stage, trained; how the training went; and whether the probe of the network was clear
        (`Look.is_clear`).

    Raises:
        ConfigError: the shares of the stages do not add up to 1, or there are fewer steps than stages.
        SupermasksError: everything that `Method.begin`, `Look` and `fit` raise.
    """
    examples = len(lesson.task.train)
    parts = settings.parts(checked_shares(method), examples)
    parts[1:] = [replace(part, head_first=0) for part in parts[1:]]  # by then the head is trained
    steps = [part.total_steps(examples) for part in parts]
    files, listeners, reports = _files(method, checkpoint), listeners or Listeners(), list[Fit]()
    look = Look(lesson.network, lesson.task, settings, lesson.seed)
    session = begun(method, lesson)
    unreached = look.unreached(session)
    whole = {name: lesson.network.weights[name] for name in unreached}
    draws = Draws(lesson, settings.batch_size)
    for number, part in enumerate(parts):
        following = next_of(session) if number else session
        if following is None:
            break
        session = following
        report = fit(
            session,
            part,
            listeners.of_stage(steps, number),
            _checkpoint(files[number], method, lesson, number, whole),
            whole,
            draws,
        )
        reports.append(report)
        if report.ended == "callback":
            break
    look.check_unchanged()
    return session, replace(Fit.joined(reports), unreached=unreached), look.is_clear


def checked_shares(method: Method) -> list[float]:
    """Return the share of the steps of each stage of a method.

    Raises:
        ConfigError: they are not positive numbers that add up to 1.
    """
    given: Any = method.stages
    shares: list[Any] = list(given) if isinstance(given, (list, tuple)) else []
    if (
        not shares
        or not all(isinstance(share, (int, float)) and share > 0 for share in shares)
        or not isclose(sum(shares), 1)
    ):
        raise ConfigError(
            f"the stages of {type(method).__name__} must be their shares of the steps, positive numbers that add up "
            f"to 1, such as (0.5, 0.5), got {brief(given)}"
        )
    return shares


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
