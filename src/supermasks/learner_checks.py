"""Checks of what a learner is given: its parts, tasks to learn, stored settings."""

import os
import warnings
from collections.abc import Iterable, Mapping, Sequence, Set
from pathlib import Path
from typing import Any, cast

from torch import Tensor

from supermasks.asking import network_inputs
from supermasks.bank import MaskBank
from supermasks.bank.contents import unknown_tasks
from supermasks.batch_checks import check_inputs
from supermasks.brief import brief
from supermasks.errors import BankFormatError, ConfigError, InputError, SupermasksWarning, TaskError, UnknownTaskError
from supermasks.files import as_path
from supermasks.input_form import InputForm
from supermasks.methods import Method
from supermasks.spec import Settings, check_restorable
from supermasks.state import TaskState
from supermasks.training import Training
from supermasks.training.learning import two_of
from supermasks.types import Task

AT_ONCE = 1000
"""How many examples are checked at once."""

LEAST_SHARE = 0.5
"""A learner that recognises fewer of the held-out examples warns."""


def check_part(
    what: str, given: object, kind: type | tuple[type, ...], example: str, known: Sequence[type] = ()
) -> None:
    """Raise ConfigError unless a part of a learner is of its kind, and settings can be saved and loaded.

    Args:
        what: the name of the part, such as "method".
        given: the part.
        kind: its class.
        example: how to make one.
        known: the classes that a user can choose among.
    """
    if not isinstance(given, kind):
        others = f"; there are {', '.join(each.__name__ for each in known)}" if known else ""
        got = f"the class {given.__name__}" if isinstance(given, type) else brief(given)
        raise ConfigError(f"the {what} of a learner must be an object such as {example}, got {got}{others}")
    if isinstance(given, Settings):
        check_restorable(given)


def check_optimisers(method: Method, training: Training) -> None:
    """Raise ConfigError if there is an optimiser for weights, but the method trains none."""
    if training.weight_optimiser is not None and not method.writes:
        raise ConfigError(
            f"{type(method).__name__} trains no weights beside a mask, so it cannot use weight_optimiser="
            f"{training.weight_optimiser!r}; leave it out, or learn by ExSSNeT"
        )


def check_task(task: object, bank: MaskBank) -> None:
    """Raise TaskError unless this is a task, or DuplicateTaskError if the bank has one of its name."""
    if not isinstance(task, Task):
        raise TaskError(f"expected a Task to learn, got a {type(task).__name__}; make_task makes one of most data")
    bank.require_new(task.name)


def check_list(tasks: object) -> None:
    """Raise TaskError unless these are several tasks, not a single one."""
    if isinstance(tasks, Task) or not isinstance(tasks, Iterable):
        raise TaskError(f"tasks must be a list of tasks, got {brief(tasks)}; learn(task) learns a single one")


def check_tasks(tasks: Iterable[Task], bank: MaskBank) -> None:
    """Raise what `check_task` raises for one of several tasks, and TaskError if two have the same name."""
    names = set[str]()
    for task in tasks:
        check_task(task, bank)
        if task.name in names:
            raise TaskError(f"tasks must have different names, got {task.name!r} twice")
        names.add(task.name)


def check_as_learned(task: Task, state: TaskState) -> None:
    """Raise an error unless a task has the classes that it was learned with, and training inputs of the same kind.

    Inputs that are made on demand, as of image files, are not all read: the first and the last one are checked.

    Args:
        task: to check.
        state: of this task.

    Raises:
        TaskError: its classes differ.
        InputError: its inputs have another shape, type or form, or are not finite.
    """
    if state.classes != task.classes:
        raise TaskError(f"task {task.name!r} was learned with the classes {state.classes}, got {task.classes}")
    form, learned, train = task.input_form, state.input_form, task.train
    try:
        if learned is InputForm.AS_IS and form is InputForm.PIXELS:
            raise InputError(f"it was learned from {learned.words}, got {form.words}; convert them in the same way")
        held = isinstance(train.inputs, Tensor)
        for inputs in (batch for batch, _ in train.batches(AT_ONCE)) if held else [two_of(task)]:
            check_inputs(inputs, state.input_shape, state.input_dtype)
            if form is not learned:
                network_inputs(inputs, state, learned)  # floats in place of pixels must be scaled as these were
    except InputError as error:
        raise InputError(
            f"the inputs of task {task.name!r} are not like those that it was learned from: {error}"
        ) from error


def named_states(tasks: object, bank: MaskBank, what: str) -> tuple[list[str], dict[str, TaskState]]:
    """Return a list of names of tasks, and the state of each.

    Args:
        tasks: names, in any sequence; a name may come again.
        bank: that must have these tasks.
        what: is expected, for an error.

    Raises:
        ConfigError: it is no sequence of names, such as a set, or is empty.
        UnknownTaskError: the bank lacks some of the tasks; the error names all of these.
    """
    if isinstance(tasks, (str, bytes, Mapping, Set)) or not isinstance(tasks, Iterable):
        raise ConfigError(f"tasks must be {what}, got {brief(tasks)}")
    names: list[Any] = list(cast("Iterable[Any]", tasks))
    if not names:
        raise ConfigError(f"tasks must be {what}, got none")
    try:
        named = {name: bank[name] for name in dict.fromkeys(names)}
        return [named[name].name for name in names], named
    except (UnknownTaskError, TypeError) as error:  # TypeError: a name that cannot be hashed
        wrong = {repr(name): name for name in names if not isinstance(name, str) or name not in bank}
        raise (unknown_tasks([*wrong.values()], bank.names) if wrong else error) from None


def different_states(tasks: object, bank: MaskBank) -> list[TaskState]:
    """Return the states of tasks; raise what `named_states` raises, and ConfigError if a name comes twice."""
    names, named = named_states(tasks, bank, "a list of task names")
    if len(named) < len(names):
        raise ConfigError(f"tasks must be a list of different task names, got {brief(names)}")
    return [*named.values()]


def checkpoint_path(checkpoint: str | os.PathLike[str] | None) -> Path | None:
    """Return the path of a checkpoint; raise ConfigError if it is invalid."""
    if checkpoint is None:
        return None
    if not isinstance(checkpoint, (str, os.PathLike)):
        raise ConfigError(f"checkpoint must be the path of a file, or None, got {brief(checkpoint)}")
    return as_path(checkpoint)


def warn_of_forgetting(before: Method, now: Method) -> None:
    """Warn if a learner goes on with a method that forgets, after one that does not.

    Args:
        before: how the tasks so far were learned.
        now: how the next task is to be learned.
    """
    if now.forgets and not before.forgets:
        warnings.warn(
            f"the tasks so far were learned by {type(before).__name__}, which forgets nothing. "
            f"{type(now).__name__} changes the weights that they answer over, so they will answer differently. Use a "
            "new learner, or a method that forgets nothing",
            SupermasksWarning,
            stacklevel=3,
        )


def warn_of_few(share: float, tasks: int) -> None:
    """Warn if fewer than half of the held-out examples were recognised.

    Args:
        share: of the examples whose task was found.
        tasks: how many tasks there are.
    """
    if share < LEAST_SHARE:
        warnings.warn(
            f"recognised on held-out data: {share:.0%} of the inputs (chance: {1 / tasks:.0%}), so an inferred task is "
            'more often wrong than right; name the task in predict(x, task=...), or set learner.inference = "auto", '
            "call learner.fit_router(tasks) and calibrate again",
            SupermasksWarning,
            stacklevel=3,
        )


def check_stored(settings: Mapping[str, Any], folder: str | os.PathLike[str]) -> None:
    """Raise BankFormatError unless the settings in a bank are those of a learner."""
    if {*settings} - {"calibration"} != {"seed", "method", "training", "inference"}:
        raise BankFormatError(
            f"the bank in {folder} was not saved by a learner: it holds the settings {list(settings)}"
        )
