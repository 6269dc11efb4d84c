"""Scores the tasks of a run by inferring the task, here or on workers; a line a task is kept to resume from."""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from supermasks.errors import TaskError
from supermasks.evaluation import shuffled
from supermasks.experiments.evaluations import Found
from supermasks.experiments.experiment import Experiment
from supermasks.experiments.expression import brief
from supermasks.experiments.running.record import append_line, read_lines
from supermasks.experiments.running.record_form import EVALUATED_ROW
from supermasks.experiments.running.watcher import Watcher
from supermasks.learner import Learner
from supermasks.spec import describe
from supermasks.types import Examples, TaskStream
from supermasks.workers import Workers


@dataclass(frozen=True)
class Wanted:
    """One score: a way of finding the task, among how many tasks, and the task whose examples are scored."""

    found: Found
    count: int
    index: int

    def key(self, names: Sequence[str]) -> tuple[str, str, int, str]:
        """Return what tells this score from others in the file of a run."""
        inference, scoring = self.found
        return brief(describe(inference)), brief(describe(scoring)), self.count, names[self.index]


def recognise(
    experiment: Experiment,
    learner: Learner,
    tasks: TaskStream,
    kept: Path,
    watcher: Watcher,
    workers: Workers | None = None,
) -> list[dict[str, Any]]:
    """Return how well tasks are recognised by each inference and scoring; the first is the headline.

    At each checkpoint the task is sought among the first tasks only: later tasks have changed none of them. For a
    method that forgets, the end is the only checkpoint.

    Args:
        experiment: says which inferences, scorings and checkpoints.
        learner: with all tasks in its bank.
        tasks: that it has learned.
        kept: a file with a line a task; its scores are not computed again.
        watcher: is told of each line.
        workers: several tasks at a time, where they can read the bank.
    """
    counts = [len(tasks)] if learner.method.forgets else experiment.evaluation.counts(len(tasks))
    names = learner.bank.names
    done = {tuple(line["of"]): line for line in read_lines(kept, EVALUATED_ROW)}
    everything = [
        Wanted(found, count, index)
        for found in experiment.evaluation.found()
        for count in counts
        for index in range(count)
    ]
    missing = [wanted for wanted in everything if wanted.key(names) not in done]
    watcher.begin("recognising", len(everything))
    for _ in range(len(everything) - len(missing)):
        watcher.advance("done before")
    job = Recognise(experiment, learner, tasks, missing)
    for line in _lines(job, workers if workers is not None and workers.share_files else None):
        done[tuple(line["of"])] = line
        append_line(kept, line)
        inference, scoring, count, name = line["of"]
        share = f"{100 * line['identification']:.1f}% recognised"
        watcher.advance(f"{name} among {count} ({inference}, {scoring}) {share}")
    return [
        _summary(found, {count: [done[Wanted(found, count, n).key(names)] for n in range(count)] for count in counts})
        for found in experiment.evaluation.found()
    ]


@dataclass(frozen=True, eq=False)
class Recognise:
    """Scores one task: a job for workers.

    Attributes:
        experiment: says how many examples are judged.
        learner: with all tasks in its bank.
        tasks: that it has learned.
        wanted: the scores to compute.
    """

    experiment: Experiment
    learner: Learner
    tasks: TaskStream
    wanted: Sequence[Wanted]

    def __call__(self, number: int) -> dict[str, Any]:
        """Return the line of the score that is wanted as `number`."""
        wanted, evaluation = self.wanted[number], self.experiment.evaluation
        self.learner.inference = wanted.found.inference
        names, start = self.learner.bank.names[: wanted.count], perf_counter()
        name, examples = names[wanted.index], judged_examples(self.tasks, wanted.index)
        if (some := evaluation.judged(wanted.count, len(self.tasks))) is not None:
            examples = shuffled(examples, name, self.learner.seed, some)
        score = wanted.found.scoring.score(self.learner, name, examples, evaluation.scenario, names)
        return {
            "of": list(wanted.key(names)),
            "accuracy": score.accuracy,
            "identification": score.identification,
            "seconds": perf_counter() - start,
        }


def _lines(job: Recognise, workers: Workers | None) -> Generator[dict[str, Any]]:
    numbers = range(len(job.wanted))
    if workers is None or not numbers:
        yield from (job(number) for number in numbers)
        return
    for _, line in workers.run(job, numbers):
        yield line


def judged_examples(tasks: TaskStream, index: int) -> Examples:
    """Return the test examples of a task.

    Raises:
        TaskError: it has none.
    """
    examples = tasks[index].test
    if examples is None:
        raise TaskError(f"task {tasks[index].name!r} has no test examples, so that it cannot be evaluated")
    return examples


def _summary(found: Found, scores: Mapping[int, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    last = scores[max(scores)]
    return {
        "inference": describe(found.inference),
        "scoring": describe(found.scoring),
        "accuracy": _mean(last, "accuracy"),
        "task_identification": _mean(last, "identification"),
        "per_task": [score["accuracy"] for score in last],
        "seconds": sum(score["seconds"] for score in last),
        "among": [
            {
                "tasks": count,
                "accuracy": _mean(of_count, "accuracy"),
                "task_identification": _mean(of_count, "identification"),
            }
            for count, of_count in scores.items()
        ],
    }


def _mean(scores: Sequence[Mapping[str, Any]], what: str) -> float:
    return sum(score[what] for score in scores) / len(scores)
