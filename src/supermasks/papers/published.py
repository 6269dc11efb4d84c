"""Finds the numbers of the papers that a run can be compared with."""

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import Any, TypeAlias

from supermasks.errors import ConfigError
from supermasks.experiments import Experiment
from supermasks.experiments.evaluations import Evaluation, TaskGiven, TaskInferred, TaskUnknown
from supermasks.experiments.tasks.images import ImageTasks
from supermasks.papers.exssnet import EXSSNET
from supermasks.papers.measures import Accuracy, Among, Given, Record, is_scored_in
from supermasks.papers.supsup import SUPSUP
from supermasks.papers.table import Paper, Row, Table, Value
from supermasks.spec import build, describe
from supermasks.types import Scenario

BOTH = (SUPSUP, EXSSNET)

_Learned: TypeAlias = tuple[Scenario, Experiment]


def published(record: Record) -> list[dict[str, Any]]:
    """Return the accuracies of papers for the settings of a record, each for one way of finding the task.

    Args:
        record: as `read_record` returns it.

    Returns:
        `what` the row of the paper is, its `accuracy` (a fraction), the described `inference` and `scoring` (None
        where the task is given), and the `source`.
    """
    ours = _learned_in(record)
    return [{**number} for learned, number in _numbers() if learned == ours]


def matching_rows(record: Record) -> set[tuple[str, str, int]]:
    """Return the rows that a record is a run of: the name of the paper, the number of the table, and of the row."""
    ours = _learned_in(record)
    return {
        (paper, table, number)
        for learned, experiment, paper, table, number in _rows()
        if learned == ours and _is_scored(record, experiment)
    }


def _is_scored(record: Record, experiment: Experiment) -> bool:
    """Return whether a record has the accuracy that an experiment is about."""
    found = experiment.evaluation.found()
    return not found or any(is_scored_in(evaluation, *found[0]) for evaluation in record["evaluations"])


def experiment_of(record: Record) -> Experiment | None:
    """Return the experiment of a record; None if this version does not know its settings."""
    try:
        return build(record["config"], Experiment)
    except ConfigError:
        return None


@cache
def _numbers() -> list[tuple[_Learned, dict[str, Any]]]:
    """Return the accuracies of both papers, each with what is learned for it."""
    found: list[tuple[_Learned, dict[str, Any]]] = []
    for paper, table, row, value in _values():
        theirs, measure = row.experiment, value.measure
        if theirs is None or value.expected is None:
            continue
        if isinstance(measure, (Among, Given)):
            theirs = _with_tasks(theirs, measure.tasks)
        elif not isinstance(measure, Accuracy):
            continue
        inference, scoring = _how(theirs, measure)
        tasks = "" if isinstance(measure, Accuracy) else f", {measure.tasks:,} tasks"
        number = {
            "what": row.what + tasks,
            "accuracy": round(value.expected / 100, 6),
            "inference": inference,
            "scoring": scoring,
            "source": f"{paper.short}, {table.heading}",
        }
        found.append((_learned(theirs), number))
    return found


@cache
def _rows() -> list[tuple[_Learned, Experiment, str, str, int]]:
    """Return the rows of both papers that can be run: what is learned, the paper, the table, and the number."""
    return [
        (_learned(row.experiment), row.experiment, paper.name, table.number, number)
        for paper in BOTH
        for table in paper.tables
        for number, row in enumerate(table.rows)
        if row.experiment is not None
    ]


def _values() -> Iterator[tuple[Paper, Table, Row, Value]]:
    for paper in BOTH:
        for table in paper.tables:
            for row in table.rows:
                for value in row.values:
                    yield paper, table, row, value


def _with_tasks(experiment: Experiment, tasks: int) -> Experiment:
    if not isinstance(experiment.tasks, ImageTasks):
        return experiment
    return replace(experiment, tasks=replace(experiment.tasks, tasks=tasks))


def _learned_in(record: Record) -> _Learned | None:
    experiment = experiment_of(record)
    return None if experiment is None else _learned(experiment)


def _learned(experiment: Experiment) -> _Learned:
    """Return what is equal for two experiments that learn the same, whatever seed, precision, and evaluation are.

    Which inference and which scoring a number belongs to is compared number by number.
    """
    training = replace(experiment.training, precision="float32")
    return experiment.evaluation.scenario, replace(experiment, seed=0, training=training, evaluation=_plain(experiment))


def _plain(experiment: Experiment) -> Evaluation:
    """Return the evaluation of an experiment without anything that changes only how the tasks are scored."""
    evaluation = experiment.evaluation
    if evaluation.calibrated:
        return TaskInferred(calibrate=True)
    if experiment.way.heads or evaluation.scenario.id_at_test:
        return TaskGiven()
    if isinstance(evaluation, TaskUnknown):  # what opens masks changes what they learn
        usual = TaskUnknown()
        scored = {name: getattr(usual, name) for name in ("checkpoints", "inference", "scoring", "further")}
        most = evaluation.max_tasks
        budget = None if most is None or most > experiment.tasks.count else most
        return replace(evaluation, **scored, judged_inputs=None, max_tasks=budget)
    return type(evaluation)()


def _how(experiment: Experiment, measure: Accuracy | Among | Given) -> tuple[Any, Any]:
    """Return how the task is found, and scored, in a number; None where it is given."""
    if isinstance(measure, Among):
        return describe(measure.inference), describe(measure.scoring)
    found = experiment.evaluation.found()
    return (describe(found[0].inference), describe(found[0].scoring)) if found else (None, None)
