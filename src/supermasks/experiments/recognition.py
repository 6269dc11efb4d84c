"""Scores the tasks of a run whose names are not told, here or on workers; a line a task is kept, to go on with."""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from supermasks.errors import TaskError
from supermasks.evaluation import shuffled
from supermasks.experiments.config import Experiment
from supermasks.experiments.mnist import INFERENCES, SCORINGS
from supermasks.experiments.record import append_line, read_lines
from supermasks.experiments.watcher import Watcher
from supermasks.learner import Learner
from supermasks.types import Examples, TaskStream
from supermasks.workers import Workers

Wanted = tuple[str, str, int, int]  # objective, scoring, among how many tasks, which of them


def recognise(
    experiment: Experiment,
    learner: Learner,
    tasks: TaskStream,
    kept: Path,
    watcher: Watcher,
    workers: Workers | None = None,
) -> list[dict[str, Any]]:
    """Return how well tasks are recognised by each pair of objective and scoring; the first is the headline.

    Among the first tasks of each checkpoint, since what was learned later has changed none of them.

    Args:
        experiment: says which pairs and checkpoints.
        learner: with all tasks in its bank.
        tasks: that it has learned.
        kept: a file with a line a task; what is there already is not done again.
        watcher: is told of each line.
        workers: several tasks at a time, where they can read the bank.
    """
    counts, names = experiment.checkpoints(), learner.bank.names
    done = {tuple(line["of"]): line for line in read_lines(kept)}
    everything: list[Wanted] = [
        (objective, scoring, count, index)
        for objective, scoring in experiment.evaluations()
        for count in counts
        for index in range(count)
    ]
    missing = [wanted for wanted in everything if (*wanted[:3], names[wanted[3]]) not in done]
    watcher.begin("recognising", len(everything))
    for _ in range(len(everything) - len(missing)):
        watcher.advance("done before")
    job = Recognise(experiment, learner, tasks, missing)
    for line in _lines(job, workers if workers is not None and workers.share_files else None):
        done[tuple(line["of"])] = line
        append_line(kept, line)
        objective, scoring, count, name = line["of"]
        share = f"{100 * line['identification']:.1f}% recognised"
        watcher.advance(f"{name} among {count} ({objective}, {scoring}) {share}")
    return [
        _summary(experiment, pair, {count: [done[(*pair, count, name)] for name in names[:count]] for count in counts})
        for pair in experiment.evaluations()
    ]


@dataclass(frozen=True, eq=False)
class Recognise:
    """Scores one task: a job for workers.

    Attributes:
        experiment: whose inference it is.
        learner: with all tasks in its bank.
        tasks: that it has learned.
        wanted: what there is to do.
    """

    experiment: Experiment
    learner: Learner
    tasks: TaskStream
    wanted: Sequence[Wanted]

    def __call__(self, number: int) -> dict[str, Any]:
        """Return the line of the score that is wanted as `number`."""
        objective, scoring, count, index = self.wanted[number]
        self.learner.inference = self.experiment.task_inference(objective)
        names, start = self.learner.bank.names[:count], perf_counter()
        examples = judged_examples(self.tasks, index)
        if (some := self.experiment.judged(count)) is not None:
            examples = shuffled(examples, names[index], self.learner.seed, some)
        score = SCORINGS[scoring]().score(self.learner, names[index], examples, self.experiment.scenario, names)
        return {
            "of": [objective, scoring, count, names[index]],
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
        raise TaskError(f"task {tasks[index].name!r} has no test examples, so it cannot be evaluated")
    return examples


def _summary(
    experiment: Experiment, pair: tuple[str, str], scores: Mapping[int, Sequence[Mapping[str, Any]]]
) -> dict[str, Any]:
    objective, scoring = pair
    last = scores[experiment.tasks]
    inference = experiment.task_inference(objective)
    return {
        "inference": next(name for name, kind in INFERENCES.items() if type(inference) is kind),
        "objective": objective,
        "scoring": scoring,
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
