"""One runner for all experiments: learn, evaluate, record; it can be stopped at any moment and go on later."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from math import prod
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from torch import Tensor

from supermasks.bank import BankFolder
from supermasks.data import Rest, limited
from supermasks.errors import ConfigError, RunStateError
from supermasks.evaluation import shuffled
from supermasks.experiments.config import Experiment
from supermasks.experiments.foreign import tell_foreign
from supermasks.experiments.recognition import judged_examples, recognise
from supermasks.experiments.record import (
    RECORD,
    append_line,
    peak_memory_bytes,
    read_json,
    read_lines,
    versions,
    write_json,
    write_record,
)
from supermasks.experiments.sequential import train_sequentially
from supermasks.experiments.split_images import TRUNK
from supermasks.experiments.watcher import Silent, Watcher
from supermasks.learner import Learner
from supermasks.masks import Mask, sparse_overlap, total_overlap
from supermasks.metrics import (
    MeanInputRouter,
    accuracy_so_far,
    average_accuracy,
    backward_transfer,
    forgetting,
    mean_input,
)
from supermasks.spec import describe
from supermasks.training import Fit
from supermasks.training.learning import two_of
from supermasks.types import TaskStream
from supermasks.workers import Workers

RUN = "run.json"
LEARNED = "learned.jsonl"
EVALUATED = "evaluated.jsonl"
CHECKPOINT = "checkpoint.pt"

EVERY_ROW = 50  # of more tasks, all of them are measured at the checkpoints of the experiment only


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        record: what was written to `record.json`.
        learner: with all tasks learned.
        tasks: the stream that they came from.
    """

    record: dict[str, Any]
    learner: Learner
    tasks: TaskStream


def run(
    experiment: Experiment,
    out: Path,
    data: Path | None = None,
    resume: bool = False,
    watcher: Watcher | None = None,
    command: Sequence[str] = (),
    workers: Workers | None = None,
) -> Run:
    """Run an experiment, and write its bank and its record into a folder.

    Args:
        experiment: what to run.
        out: the folder; it must not hold a run, unless it is resumed.
        data: where the data set lies; None looks in the usual places.
        resume: go on with the run that is in the folder, if there is one.
        watcher: is told how far the run is.
        command: kept in the record.
        workers: learn and recognise tasks on these, several at a time; with the same number of threads the masks are
            the same.

    Raises:
        RunStateError: the folder holds a run and `resume` is not set, or holds another run.
        DataUnavailableError: the data set is not there.
        ConfigError: the settings cannot work.
    """
    watcher = watcher or Silent()
    if experiment.tasks < 1:
        raise ConfigError(f"an experiment has at least one task, but tasks={experiment.tasks} came")
    tasks = experiment.stream(data)
    if experiment.trains_first:
        _claim(experiment, out, resume)
    foreign = experiment.foreign_inputs(data)  # before anything is learned: it may not be there
    learner = experiment.learner(tasks, out, watcher.step)
    _check_settings(experiment, learner, tasks)
    if workers is not None and any(experiment.training(learner.training, n) != learner.training for n in (0, 1)):
        raise ConfigError("workers train all tasks alike, but these settings do not; leave out the workers")
    if not experiment.trains_first:
        _claim(experiment, out, resume)
    if experiment.forgets:
        return _run_sequentially(experiment, learner, tasks, out, watcher, command)
    folder = _open_bank(learner, out)
    checkpoints = experiment.checkpoints()
    learned = _learn(experiment, learner, tasks, folder, out, watcher, checkpoints, workers)
    evaluations = recognise(experiment, learner, tasks, out / EVALUATED, watcher, workers)
    infer_seconds, start = sum(evaluation["seconds"] for evaluation in evaluations), perf_counter()
    record = {
        **_about(experiment, learner, len(tasks), command),
        "accuracy": _accuracy([row["accuracies"] for row in learned], evaluations),
        "workers": None if workers is None else describe(workers),
        "task_identification": evaluations[0]["task_identification"] if evaluations else None,
        "evaluations": evaluations,
        "foreign": None if foreign is None else _tell_foreign(experiment, learner, tasks, foreign),
        "baselines": {}
        if experiment.scenario.id_at_test
        else {"mean_input_router": _route_by_mean(tasks, learner.seed)},
        "curves": [row.get("curve", []) for row in learned],
        "growth": {
            "seconds": [row["seconds"] for row in learned],
            "rounding": [row.get("rounding", 0.0) for row in learned],
            "bytes": [size for file, size in folder.sizes().items() if file.startswith("tasks/")],
        },
        "overlap": _overlap([state.mask for state in learner.bank]),
        "bytes": measure_bytes(folder),
        "seconds": {
            "train": sum(row["seconds"] for row in learned),
            "infer": infer_seconds,
            "evaluate": infer_seconds + perf_counter() - start,
        },
        "peak_memory_bytes": peak_memory_bytes(),
    }
    write_record(out, record)
    return Run(record, learner, tasks)


def _run_sequentially(
    experiment: Experiment, learner: Learner, tasks: TaskStream, out: Path, watcher: Watcher, command: Sequence[str]
) -> Run:
    """Train one network on all tasks in turn; there is no bank, and a run that was stopped begins anew."""
    start = perf_counter()
    watcher.begin("training on", len(tasks))
    matrix = train_sequentially(learner, tasks, watcher.step, watcher.advance)
    network = learner.network
    shared = 4 * sum(weight.numel() for weight in network.weights.values())
    heads = 4 * sum(prod(shape) for task in tasks for shape in network.head_shapes(len(task.classes)).values())
    norm = sum(buffer.numel() * buffer.element_size() for buffer in network.fresh_buffers().values())
    sizes = {"total": shared + heads + norm, "masks": 0, "owned": 0, "dense": shared + heads, "norm": norm, "other": 0}
    record = {
        **_about(experiment, learner, len(tasks), command),
        "method": "sequential",
        "accuracy": _accuracy([[entry for entry in row if entry is not None] for row in matrix], []),
        "task_identification": None,
        "evaluations": [],
        "baselines": {},
        "bytes": {**sizes, "memory": 0, "trunk": 0, "packed": 0, "entropy_bound": 0.0, "paper": shared + heads + norm},
        "seconds": {"train": perf_counter() - start, "infer": 0, "evaluate": 0},
        "peak_memory_bytes": peak_memory_bytes(),
    }
    write_record(out, record)
    return Run(record, learner, tasks)


def _about(experiment: Experiment, learner: Learner, tasks: int, command: Sequence[str]) -> dict[str, Any]:
    """Return what a record says of the run itself."""
    return {
        "experiment": experiment.name,
        "method": type(learner.method).__name__,
        "scenario": experiment.scenario.name,
        "tasks": tasks,
        "seed": experiment.seed,
        "command": " ".join(command),
        "config": describe(experiment),
        "versions": versions(),
        "published": [describe(figure) for figure in experiment.published()],
    }


def _tell_foreign(experiment: Experiment, learner: Learner, tasks: TaskStream, foreign: Tensor) -> dict[str, Any]:
    learner.inference = experiment.task_inference(experiment.evaluations()[0][0])
    return tell_foreign(learner, tasks, foreign)


def _accuracy(rows: list[list[float]], evaluations: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the accuracies of a record: of the first evaluation, or with the task given where there is none.

    Args:
        rows: after each task, the accuracies of the last tasks up to it.
        evaluations: with the task inferred.
    """
    numbers = np.full((len(rows), len(rows)), np.nan)
    for i, row in enumerate(rows):
        numbers[i, i + 1 - len(row) : i + 1] = row
    matrix = [[*row, *[None] * (len(rows) - len(row))] for row in rows]
    complete = all(len(row) == i + 1 for i, row in enumerate(rows))
    given = average_accuracy(numbers)
    return {
        "mean": evaluations[0]["accuracy"] if evaluations else given,
        "per_task": evaluations[0]["per_task"] if evaluations else rows[-1],
        "matrix": matrix if complete else None,
        "task_given": given,
        "given_per_task": rows[-1],
        "so_far": [None if np.isnan(mean) else mean for mean in accuracy_so_far(numbers)],
        "forgetting": forgetting(numbers),
        "backward_transfer": backward_transfer(numbers),
    }


def _overlap(masks: list[Mask]) -> dict[str, Any]:
    """Return how far masks share weights: each with those before it, their mean, and all together."""
    sparse = sparse_overlap(masks)
    return {"sparse": sparse, "sparse_mean": sum(sparse) / len(sparse), "total": total_overlap(masks)}


def measure_bytes(folder: BankFolder) -> dict[str, float]:
    """Return what all tasks cost to store, item by item, in bytes.

    "total" is what the files of the bank take on disk: coded masks, weights that tasks have trained in the
    shared network ("owned"), dense weights, normalisation statistics, and other (names, shapes, digests). "memory" is
    needed only to learn further tasks, and "trunk" is what tasks share beside the bank; neither is part of the total.
    "packed" is a bit a masked weight, "entropy_bound" what an ideal code of the masks takes, and "paper" what SupSup
    counts for masks and statistics (Table 2).
    """
    bank, trunk = folder.bytes(), folder.path.parent / TRUNK
    return {
        "total": bank.total,
        "masks": bank.masks,
        "owned": bank.owned,
        "dense": bank.dense,
        "norm": bank.norm,
        "other": bank.names + bank.manifest + bank.kept,
        "memory": bank.memory,
        "trunk": trunk.stat().st_size if trunk.exists() else 0,
        "packed": bank.packed,
        "entropy_bound": bank.entropy_bound,
        "paper": bank.paper,
    }


def _check_settings(experiment: Experiment, learner: Learner, tasks: TaskStream) -> None:
    """Raise ConfigError now rather than after hours of training, if the settings do not suit the backbone."""
    learner.method.check(learner.network)
    if learner.network.head is not None:
        return  # each task has its own outputs
    outputs, classes = learner.network.outputs(two_of(tasks[0])), len(tasks[0].classes)
    needed = classes + any(objective == "G" for objective, _ in experiment.evaluations())
    if outputs < needed:
        raise ConfigError(
            f"the backbone has {outputs} outputs, but {classes} classes need at least {needed}"
            + (" with objective G, which needs superfluous neurons" if needed > classes else "")
            + "; set outputs, to 100 for example"
        )


def _claim(experiment: Experiment, out: Path, resume: bool) -> None:
    """Make the folder that of this run, or see that it is."""
    config = describe(experiment)
    if not (out / RUN).exists() and any((out / name).exists() for name in ("bank", LEARNED, EVALUATED, RECORD)):
        raise RunStateError(f"{out} holds parts of a run, but no {RUN}; choose another folder by --out")
    if (out / RUN).exists():
        if not resume:
            raise RunStateError(
                f"{out} holds a run already; go on with it by --resume, or choose another folder by --out"
            )
        stored = {**experiment.defaults(), **read_json(out / RUN)}
        if stored != config:
            changed = {key for key in config.keys() | stored.keys() if config.get(key) != stored.get(key)}
            differences = "; ".join(
                f"{key} was {stored.get(key)!r}, now {config.get(key)!r}" for key in sorted(changed)
            )
            raise RunStateError(
                f"{out} holds another run: {differences}; use the same settings, or another folder by --out"
            )
        return
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunStateError(f"{out} cannot hold a run: {error}; choose another folder by --out") from error
    write_json(out / RUN, config)


def _open_bank(learner: Learner, out: Path) -> BankFolder:
    """Return the run's bank on disk, its tasks loaded into the learner."""
    folder = BankFolder(out / "bank")
    if not folder.exists():
        folder.create(learner.bank.header, learner.bank.kept)
    learner.adopt(folder.open())
    return folder


def _learn(
    experiment: Experiment,
    learner: Learner,
    tasks: TaskStream,
    folder: BankFolder,
    out: Path,
    watcher: Watcher,
    checkpoints: Sequence[int],
    workers: Workers | None,
) -> list[dict[str, Any]]:
    """Learn the tasks that the bank lacks; return for each how it went, and the accuracies after it, task given."""
    path = out / LEARNED
    learned = read_lines(path)
    if [row["task"] for row in learned] != learner.bank.names[: len(learned)]:
        raise RunStateError(
            f"{path} lists tasks that the bank beside it does not hold; restore the bank, or start anew"
        )

    def note(seconds: float, curve: Sequence[float] = (), rounding: float = 0.0) -> None:
        names = learner.bank.names[: len(learned) + 1]
        everything = len(tasks) <= EVERY_ROW or len(names) in checkpoints
        measured = names if everything else names[-1:]
        first = len(names) - len(measured)
        accuracies = [learner.accuracy(judged_examples(tasks, first + j), name) for j, name in enumerate(measured)]
        row = {"task": names[-1], "seconds": seconds, "accuracies": accuracies}  # of the last tasks up to this one
        learned.append({**row, "curve": list(curve), "rounding": rounding})
        append_line(path, learned[-1])
        advance(learned[-1])

    def advance(row: Mapping[str, Any]) -> None:
        watcher.advance(f"{row['task']} {100 * row['accuracies'][-1]:.1f}%")

    def keep(name: str, fit: Fit) -> None:
        folder.append(learner.bank[name], learner.bank.memory)
        note(fit.seconds, fit.validation, fit.rounding)

    watcher.begin("learning", len(tasks))
    for row in learned:
        advance(row)
    while len(learned) < len(learner.bank):  # the run was stopped between the two files
        note(0.0)
    if workers is not None:
        learner.learn_apart(Rest(tasks, len(learned)), workers, keep)
    usual = learner.training
    for index in range(len(learned), len(tasks)):
        start, task = perf_counter(), tasks[index]
        learner.training = experiment.training(usual, index)
        report = learner.learn(task, watcher.step, out / CHECKPOINT)
        folder.append(learner.bank[task.name], learner.bank.memory)
        note(perf_counter() - start, report.validation, report.rounding)
    return learned


def _route_by_mean(tasks: TaskStream, seed: int) -> dict[str, float]:
    """Return how often the nearest mean training image is that of the right task: by one image, and by 128 together."""
    few = len(tasks) > EVERY_ROW  # of many tasks, some images of each say enough
    some = (limited(task, min(5000, len(task.train))) if few else task for task in tasks)
    router = MeanInputRouter([mean_input(task.train) for task in some])
    single = batches = found_single = found_batches = 0
    for index in range(len(tasks)):
        # The batches are those that a task inference is scored on.
        mixed = shuffled(judged_examples(tasks, index), tasks[index].name, seed)
        for inputs, _ in islice(mixed.batches(128), 10 if few else None):
            single += len(inputs)
            found_single += int((router.route(inputs) == index).sum())
            batches += 1
            found_batches += int(router.route(inputs.mean(dim=0, keepdim=True)) == index)
    return {"each_input": found_single / single, "full_batch": found_batches / batches}
