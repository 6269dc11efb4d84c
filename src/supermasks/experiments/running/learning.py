"""Learns the tasks of a run into its bank, and keeps a line a task of how it went."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

from supermasks.bank import BankFolder
from supermasks.data import Rest
from supermasks.errors import RunStateError
from supermasks.experiments.evaluations import FEW_TASKS
from supermasks.experiments.experiment import Experiment
from supermasks.experiments.running.recognition import judged_examples
from supermasks.experiments.running.record import append_line, read_lines
from supermasks.experiments.running.record_form import LEARNED_ROW
from supermasks.experiments.running.watcher import Watcher
from supermasks.learner import Learner
from supermasks.training import Fit
from supermasks.types import TaskStream
from supermasks.workers import Workers

LEARNED = "learned.jsonl"
CHECKPOINT = "checkpoint.pt"


class Log:
    """The lines of `learned.jsonl`: one a task, with the accuracies of the last tasks up to it, task given.

    Attributes:
        path: of the file.
        rows: the lines.
    """

    def __init__(self, experiment: Experiment, learner: Learner, tasks: TaskStream, path: Path) -> None:
        """Read the lines of a run.

        Raises:
            RunStateError: they are damaged, or list tasks that the bank does not hold.
        """
        self._learner, self._tasks, self.path = learner, tasks, path
        self._counts = experiment.evaluation.counts(len(tasks))
        self.rows: list[dict[str, Any]] = read_lines(path, LEARNED_ROW)
        if [row["task"] for row in self.rows] != learner.bank.names[: len(self.rows)]:
            raise RunStateError(f"{path} lists tasks that the bank does not hold; restore the bank, or start anew")
        for number, row in enumerate(self.rows, 1):
            if len(row["accuracies"]) > number:
                raise RunStateError(
                    f"{path} is damaged: line {number} has accuracies of {len(row['accuracies'])} tasks; "
                    "restore it, or start anew in another folder"
                )

    def note(self, seconds: float, curve: Sequence[float] = (), rounding: float = 0.0) -> Mapping[str, Any]:
        """Measure the next task of the bank, and add its line."""
        names = self._learner.bank.names[: len(self.rows) + 1]
        everything = len(self._tasks) <= FEW_TASKS or len(names) in self._counts
        measured = names if everything else names[-1:]
        first = len(names) - len(measured)
        accuracies = [
            self._learner.accuracy(judged_examples(self._tasks, first + j), name) for j, name in enumerate(measured)
        ]
        row = {"task": names[-1], "seconds": seconds, "accuracies": accuracies}
        self.rows.append({**row, "curve": list(curve), "rounding": rounding})
        append_line(self.path, self.rows[-1])
        return self.rows[-1]


def learn(
    experiment: Experiment,
    learner: Learner,
    tasks: TaskStream,
    folder: BankFolder,
    out: Path,
    watcher: Watcher,
    workers: Workers | None,
) -> list[dict[str, Any]]:
    """Learn the tasks that the bank lacks; return the line of each task.

    Raises:
        RunStateError: lines are damaged, list tasks that the bank lacks, or are lost and cannot be measured now.
    """
    log = Log(experiment, learner, tasks, out / LEARNED)

    def advance(row: Mapping[str, Any]) -> None:
        watcher.advance(f"{row['task']} {100 * row['accuracies'][-1]:.1f}%")

    def append(name: str) -> None:
        state = learner.bank[name]
        left = learner.bank.weights if state.replaced else None
        moments = None if state.means is None else learner.bank.moments
        folder.append(state, learner.bank.memory, left, moments)

    def keep(name: str, fit: Fit) -> None:
        append(name)
        advance(log.note(fit.seconds, fit.validation, fit.rounding))

    watcher.begin("learning", len(tasks))
    for row in log.rows:
        advance(row)
    if learner.method.forgets and len(learner.bank) - len(log.rows) > 1:
        raise RunStateError(
            f"{log.path} has {len(log.rows)} lines, but the bank has {len(learner.bank)} tasks: the accuracies after "
            "the tasks between are lost, and cannot be measured after later tasks; restore the file, or start anew in "
            "another folder"
        )
    while len(log.rows) < len(learner.bank):  # the run was stopped between the two files
        advance(log.note(0.0))
    if workers is not None:
        learner.learn_apart(Rest(tasks, len(log.rows)), workers, keep)
    for index in range(len(log.rows), len(tasks)):
        start, task = perf_counter(), tasks[index]
        learner.training = experiment.training_of(index)
        report = learner.learn(task, watcher.step, out / CHECKPOINT)
        earlier = max(0.0, report.seconds - (perf_counter() - start))  # before an interruption
        append(task.name)
        advance(log.note(earlier + perf_counter() - start, report.validation, report.rounding))
    return log.rows
