"""From several tasks to their states: what a learner does with tasks that are learned at the same time."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from supermasks.arithmetic import computing_in
from supermasks.brief import counted
from supermasks.errors import ConfigError, TaskError
from supermasks.methods import Lesson, Method, Session
from supermasks.training.bar import Shown, watched
from supermasks.training.layers import seeded_reading
from supermasks.training.learning import LearnedTask, check_learnable, finish_task
from supermasks.training.listening import Listeners
from supermasks.training.session_checks import begun
from supermasks.training.settings import Training
from supermasks.training.stages import checked_shares
from supermasks.training.steps import Callback
from supermasks.training.together import fit_together


def learn_together(
    method: Method,
    lessons: Sequence[Lesson],
    settings: Training,
    progress: Shown = None,
    callbacks: Sequence[Callback] = (),
) -> list[LearnedTask]:
    """Train tasks at the same time over one network, and turn what was trained into their states.

    Each task begins with the past of its lesson, and remembers the tasks before it.

    Args:
        method: says what is trained, and what is kept of it.
        lessons: the tasks, and what they are learned over; all of one network.
        settings: of the training.
        progress: as in `watched`.
        callbacks: called after each step for each task.

    Raises:
        ConfigError: there are no tasks, or the method or the settings do not allow for it.
        TaskError: the tasks have inputs of different shapes.
        SupermasksError: everything that `learn_task` raises.
    """
    _check(method, settings, lessons)
    network, memory = lessons[0].network, lessons[0].past.memory
    with torch.inference_mode(False), torch.enable_grad(), computing_in(torch.float32, network.device):
        sessions = [_begin(method, lesson) for lesson in lessons]
        with watched(progress, counted(len(lessons), "task")) as (told, bar):
            listeners = Listeners(told if bar is None else bar.progress, callbacks)
            reports = fit_together(sessions, settings, listeners)
        learned = list[LearnedTask]()
        for session, report in zip(sessions, reports, strict=True):
            session.lesson = replace(session.lesson, past=replace(session.lesson.past, memory=memory))
            learned.append(finish_task(method, session, settings, report))
            memory = learned[-1].memory or memory
    return learned


def _begin(method: Method, lesson: Lesson) -> Session:
    """Return the session of a task, which begins as `learn_task` has it begin."""
    with seeded_reading(lesson.network.device, lesson.seed, lesson.task.name, "begin"):
        return begun(method, lesson)


def _check(method: Method, settings: Training, lessons: Sequence[Lesson]) -> None:
    """Raise what `learn_together` raises before it trains."""
    if not lessons:
        raise ConfigError("expected at least one task to learn, got none")
    if len(checked_shares(method)) > 1 or method.writes:
        raise ConfigError(
            f"{type(method).__name__} cannot learn tasks together: each task trains weights that the ones before it "
            "have left; learn them one by one"
        )
    if len(shapes := {lesson.task.train.shape for lesson in lessons}) > 1:
        raise TaskError(
            f"tasks that are learned together must have inputs of one shape, got {sorted(shapes)}; learn them one by "
            "one"
        )
    for lesson in lessons:
        check_learnable(lesson.network, lesson.task, settings)
