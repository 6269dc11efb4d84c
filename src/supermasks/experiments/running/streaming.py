"""Runs an experiment without task labels: batch after batch, then scores by the masks that were opened."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from supermasks.errors import RunStateError
from supermasks.evaluation import shuffled
from supermasks.experiments.evaluations import FEW_TASKS, Found, TaskUnknown
from supermasks.experiments.experiment import Experiment
from supermasks.experiments.expression import brief
from supermasks.experiments.running.recognition import judged_examples
from supermasks.experiments.running.record import append_line, read_lines, with_digest, write_lines
from supermasks.experiments.running.record_form import EVALUATED_ROW, VISITS_ROW
from supermasks.experiments.running.watcher import Watcher
from supermasks.learner import Learner
from supermasks.spec import describe
from supermasks.streams import Batch, BatchStream, Observed, StreamLearner
from supermasks.types import NNS, Examples, TaskStream

VISITS = "visits.jsonl"
CHECKPOINT = "stream"
CHECKPOINT_SECONDS = 60.0


class Streaming:
    """A stream of batches through a learner that is told no task; it can be stopped and resumed.

    Args:
        experiment: what to run; its evaluation is `TaskUnknown`.
        learner: gives network, method and training.
        tasks: of the stream.
        out: the folder of the run.
        watcher: is told of each visit.
    """

    def __init__(
        self, experiment: Experiment, learner: Learner, tasks: TaskStream, out: Path, watcher: Watcher
    ) -> None:
        evaluation = experiment.evaluation
        assert isinstance(evaluation, TaskUnknown)  # the caller has checked
        self.experiment, self.evaluation, self.tasks, self.out, self.watcher = (
            experiment,
            evaluation,
            tasks,
            out,
            watcher,
        )
        steps, size, seed = learner.training.total_steps(len(tasks[0].train)), learner.training.batch_size, learner.seed
        self.stream = BatchStream(tasks, evaluation.visits(len(tasks), steps, seed), size, seed)
        self.learner = StreamLearner(
            learner.network,
            list(dict.fromkeys(label for index in range(min(len(tasks), FEW_TASKS)) for label in tasks[index].classes)),
            seed=seed,
            method=learner.method,
            training=learner.training,
            inference=evaluation.inference,
            novelty=evaluation.novelty,
            open_tasks=evaluation.open_tasks,
            max_tasks=evaluation.max_tasks,
        )
        self.lines: list[dict[str, Any]] = []

    def learn(self) -> None:
        """Observe all batches that were not observed before.

        Raises:
            RunStateError: the lines of the visits are damaged.
        """
        ends = [first + count for first, (_, count) in zip(self.stream.boundaries, self.stream.visits, strict=True)]
        if (self.out / CHECKPOINT / "stream.pt").exists():
            done, lines = self.learner.resume(self.out / CHECKPOINT), read_lines(self.out / VISITS, VISITS_ROW)
            self.lines = [line for line in lines if line["first"] + line["batches"] <= done]
            if [line["first"] + line["batches"] for line in self.lines] != [end for end in ends if end <= done]:
                raise RunStateError(
                    f"{self.out / VISITS} is damaged: a visit is missing; restore it, or start anew in another folder"
                )
        write_lines(self.out / VISITS, map(with_digest, self.lines))
        self.watcher.begin("streaming", len(self.stream.visits))
        for line in self.lines:
            self.watcher.advance(_in_words(line))
        visit, saved = _Visit(), perf_counter()
        for batch in self.stream.batches(self.learner.batches):
            visit.note(batch, self.learner.observe(batch.inputs, batch.labels))
            first, end = self.stream.boundaries[len(self.lines)], ends[len(self.lines)]
            self.watcher.step(batch.number + 1 - first, end - first)
            if batch.number + 1 < end:
                continue
            self._end(visit)
            visit = _Visit()
            if perf_counter() - saved > CHECKPOINT_SECONDS or batch.number + 1 == len(self.stream):
                self.learner.checkpoint(self.out / CHECKPOINT)
                saved = perf_counter()

    def masks(self, tasks: int) -> list[str]:
        """Return for each of the first tasks the mask that was trained on most of its batches."""
        trained = [Counter[str]() for _ in range(tasks)]
        for line in self.lines:
            if line["index"] < tasks:
                trained[line["index"]].update(line["masks"])
        return [counts.most_common(1)[0][0] for counts in trained]

    def opened_by(self, tasks: int) -> list[str]:
        """Return the masks that were open when the first tasks had come once."""
        return self.learner.tasks[: self.lines[tasks - 1]["opened"]]

    def _end(self, visit: "_Visit") -> None:
        """Add the line of a visit that has ended."""
        mask = visit.masks.most_common(1)[0][0]
        accuracy = self.learner.learner.accuracy(judged_examples(self.tasks, visit.index), mask)
        line = {**visit.described(), "opened": len(self.learner.tasks), "accuracy": accuracy}
        self.lines.append(line)
        append_line(self.out / VISITS, line)
        self.watcher.advance(_in_words(line))


class _Visit:
    """What happens while one task is visited."""

    def __init__(self) -> None:
        self.masks = Counter[str]()
        self.new: list[int] = []
        self.first, self.index, self.loss, self.start = -1, 0, 0.0, perf_counter()

    def note(self, batch: Batch, observed: Observed) -> None:
        """Note a batch."""
        if self.first < 0:
            self.first, self.index = batch.number, batch.index
        self.masks[observed.task] += 1
        self.loss = observed.loss
        if observed.new:
            self.new.append(batch.number)

    def described(self) -> dict[str, Any]:
        """Return the visit as plain data: which masks its batches trained, and at which batches masks were opened."""
        return {
            "first": self.first,
            "batches": self.masks.total(),
            "index": self.index,
            "masks": dict(self.masks),
            "new": self.new,
            "loss": self.loss,
            "seconds": perf_counter() - self.start,
        }


def _in_words(line: Mapping[str, Any]) -> str:
    mask = max(line["masks"], key=lambda name: line["masks"][name])
    return f"{line['opened']} masks; now {mask}; loss {line['loss']:.2f}; accuracy {100 * line['accuracy']:.1f}%"


def score(streaming: Streaming, kept: Path) -> list[dict[str, Any]]:
    """Return how well tasks are recognised among the masks, at each checkpoint; the headline first.

    Args:
        streaming: at its end.
        kept: a file with a line a task; its scores are not computed again.
    """
    experiment, learner = streaming.experiment, streaming.learner.learner
    done, watcher = {tuple(line["of"]): line for line in read_lines(kept, EVALUATED_ROW)}, streaming.watcher
    counts, found = experiment.evaluation.counts(len(streaming.tasks)), experiment.evaluation.found()
    watcher.begin("recognising", len(found) * sum(counts))
    summaries = list[dict[str, Any]]()
    for one in found:
        learner.inference = one.inference
        among = list[dict[str, Any]]()
        for count in counts:
            scores = list[dict[str, Any]]()
            for index in range(count):
                of = (brief(describe(one.inference)), brief(describe(one.scoring)), count, index)
                if of not in done:
                    done[of] = {"of": list(of), **_score(streaming, learner, one, count, index)}
                    append_line(kept, done[of])
                scores.append(done[of])
                watcher.advance(f"task {index} among {count}: {100 * done[of]['identification']:.1f}% recognised")
            among.append({"tasks": count, **_means(scores), "per_task": [each["accuracy"] for each in scores]})
        last = among[-1]
        summaries.append(
            {
                "inference": describe(one.inference),
                "scoring": describe(one.scoring),
                **{name: last[name] for name in ("accuracy", "task_identification", "per_task", "seconds")},
                "among": [{name: row[name] for name in ("tasks", "accuracy", "task_identification")} for row in among],
            }
        )
    return summaries


def _score(streaming: Streaming, learner: Learner, found: Found, count: int, index: int) -> dict[str, Any]:
    start, mask, task = perf_counter(), streaming.masks(count)[index], streaming.tasks[index]
    examples, most = judged_examples(streaming.tasks, index), streaming.evaluation.judged_inputs
    if most is not None and most < len(examples):
        examples = shuffled(examples, task.name, learner.seed, most)
    examples = _relabelled(examples, task.classes, learner.bank[mask].classes)
    scored = found.scoring.score(learner, mask, examples, NNS, streaming.opened_by(count))
    return {**asdict(scored), "seconds": perf_counter() - start}


def _relabelled(examples: Examples, classes: Sequence[Any], known: Sequence[Any]) -> Examples:
    """Return examples whose targets are indices into the classes of the stream."""
    if tuple(classes) == tuple(known):
        return examples
    numbers = torch.tensor([list(known).index(label) for label in classes])
    return Examples(examples.inputs, numbers[examples.targets], examples.view, examples.rows)


def _means(scores: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    count = len(scores)
    return {
        "accuracy": sum(score["accuracy"] for score in scores) / count,
        "task_identification": sum(score["identification"] for score in scores) / count,
        "seconds": sum(score["seconds"] for score in scores),
    }
