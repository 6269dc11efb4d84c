"""One runner for all experiments: learn, evaluate, record; it can be stopped at any moment and resumed later."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

from supermasks.bank import BankFolder
from supermasks.errors import ConfigError
from supermasks.experiments.evaluations import TaskUnknown
from supermasks.experiments.experiment import Experiment
from supermasks.experiments.running.folder import claim, open_bank
from supermasks.experiments.running.foreign import tell_foreign
from supermasks.experiments.running.learning import learn
from supermasks.experiments.running.measures import accuracies, mean_input_router, measure_bytes, overlap
from supermasks.experiments.running.recognition import judged_examples, recognise
from supermasks.experiments.running.record import about, peak_memory_bytes, write_record
from supermasks.experiments.running.streaming import Streaming, score
from supermasks.experiments.running.watcher import Silent, Watcher
from supermasks.experiments.ways.trunk import trunk_seconds
from supermasks.inference import SuperfluousNeurons
from supermasks.learner import Learner
from supermasks.spec import describe
from supermasks.training.learning import two_of
from supermasks.types import TaskStream
from supermasks.workers import Workers

EVALUATED = "evaluated.jsonl"


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        record: what was written to `record.json`.
        learner: with all tasks learned.
        tasks: the stream of the tasks.
    """

    record: dict[str, Any]
    learner: Learner
    tasks: TaskStream


@dataclass(frozen=True, kw_only=True)
class Where:
    """Where and how a run is computed: nothing that its numbers should depend on.

    Attributes:
        data: where the data sets lie; None looks in the usual places.
        device: where to compute, such as "cuda".
        workers: learn and recognise tasks on these, several at a time; with the same number of threads the masks are
            the same.
        command: kept in the record.
    """

    data: Path | None = None
    device: str = "cpu"
    workers: Workers | None = None
    command: Sequence[str] = ()


def run(
    experiment: Experiment,
    out: Path,
    data: Path | None = None,
    resume: bool = False,
    watcher: Watcher | None = None,
    command: Sequence[str] = (),
    workers: Workers | None = None,
    device: str = "cpu",
) -> Run:
    """Run an experiment, and write its bank and its record into a folder.

    Args:
        experiment: what to run.
        out: the folder; it must not hold a run, unless that run is resumed.
        data: where the data sets lie; None looks in the usual places.
        resume: resume the run in the folder, if there is one.
        watcher: is told how far the run is.
        command: kept in the record.
        workers: learn and recognise tasks on these, several at a time; with the same number of threads the masks are
            the same.
        device: where to compute, such as "cuda".

    Raises:
        RunStateError: the folder holds a run and `resume` is not set, or holds another run.
        DataUnavailableError: the data set is not there.
        ConfigError: the settings cannot work.
    """
    where, watcher = Where(data=data, device=device, workers=workers, command=command), watcher or Silent()
    tasks = experiment.stream(data)
    if experiment.way.trains_first:
        claim(experiment, out, resume)
    _check_foreign(experiment, tasks, data)
    learner = experiment.learner(tasks, out, watcher.step, device, data)
    _check(experiment, learner, tasks, workers)
    named = not isinstance(experiment.evaluation, TaskUnknown)
    streaming = None if named else Streaming(experiment, learner, tasks, out, watcher)
    if not experiment.way.trains_first:
        claim(experiment, out, resume)
    if streaming is None:
        measured = _learn_and_evaluate(experiment, learner, tasks, out, watcher, where)
    else:
        measured = _stream_and_evaluate(streaming)
        learner = streaming.learner.learner
    record = {**about(experiment, learner, where.command, device), **measured}
    record["peak_memory_bytes"] = peak_memory_bytes()
    write_record(out, record)
    return Run(record, learner, tasks)


def _learn_and_evaluate(
    experiment: Experiment, learner: Learner, tasks: TaskStream, out: Path, watcher: Watcher, where: Where
) -> dict[str, Any]:
    """Learn all tasks into a bank, evaluate them, and return what a record says of that."""
    folder = open_bank(learner, out)
    learned = learn(experiment, learner, tasks, folder, out, watcher, where.workers)
    calibrated = _calibrate(learner, tasks) if experiment.evaluation.calibrated else None
    evaluations = recognise(experiment, learner, tasks, out / EVALUATED, watcher, where.workers)
    infer_seconds, start = sum(evaluation["seconds"] for evaluation in evaluations), perf_counter()
    given, values = experiment.evaluation.scenario.id_at_test, tasks[0].train.dtype.is_floating_point
    return {
        "accuracy": accuracies([row["accuracies"] for row in learned], evaluations),
        "workers": None if where.workers is None else describe(where.workers),
        "task_identification": evaluations[0]["task_identification"] if evaluations else None,
        "evaluations": evaluations,
        **({} if calibrated is None else {"calibration": calibrated}),
        "foreign": _tell_foreign(experiment, learner, tasks, where.data),
        # Token ids are names, which have no mean.
        "baselines": {} if given or not values else {"mean_input_router": mean_input_router(tasks, learner.seed)},
        "curves": [row.get("curve", []) for row in learned],
        "growth": {
            "seconds": [row["seconds"] for row in learned],
            "rounding": [row.get("rounding", 0.0) for row in learned],
            "bytes": list(folder.task_sizes().values()),
        },
        "overlap": overlap([state.mask for state in learner.bank]),
        "bytes": measure_bytes(folder),
        "seconds": {
            "train": trunk_seconds(out) + sum(row["seconds"] for row in learned),
            "infer": infer_seconds,
            "evaluate": infer_seconds + perf_counter() - start,
        },
    }


def _stream_and_evaluate(streaming: Streaming) -> dict[str, Any]:
    """Learn a stream without the names of the tasks, evaluate the masks, and return what a record says of that."""
    streaming.learn()
    tasks, out, stream, lines = streaming.tasks, streaming.out, streaming.learner, streaming.lines
    evaluations, masks = score(streaming, out / EVALUATED), streaming.masks(len(tasks))
    stream.save(out / "bank", overwrite=True)
    given = [stream.learner.accuracy(judged_examples(tasks, index), mask) for index, mask in enumerate(masks)]
    just_learned = [[line["accuracy"]] for line in lines[: len(tasks)]]
    infer_seconds = sum(evaluation["seconds"] for evaluation in evaluations)
    return {
        "accuracy": accuracies([*just_learned[:-1], given], evaluations),
        "workers": None,
        "task_identification": evaluations[0]["task_identification"],
        "evaluations": evaluations,
        "stream": {"opened": len(stream.tasks), "masks": masks, "visits": lines},
        "baselines": {"mean_input_router": mean_input_router(tasks, stream.seed)},
        "overlap": overlap([state.mask for state in stream.bank]),
        "bytes": measure_bytes(BankFolder(out / "bank")),
        "seconds": {
            "train": sum(line["seconds"] for line in lines),
            "infer": infer_seconds,
            "evaluate": infer_seconds,
        },
    }


def _calibrate(learner: Learner, tasks: TaskStream) -> dict[str, Any]:
    """Calibrate the inference on the validation examples of all tasks, and return what that has shown."""
    held_out = {task.name: task.validation for task in tasks if task.validation is not None}
    described = learner.calibrate(held_out).described()
    return {name: described[name] for name in ("recognised", "compared", "skipped", "inference", "temperature")}


def _tell_foreign(
    experiment: Experiment, learner: Learner, tasks: TaskStream, data: Path | None
) -> dict[str, Any] | None:
    foreign = experiment.evaluation.foreign_inputs(data)
    if foreign is None:
        return None
    learner.inference = experiment.evaluation.found()[0].inference
    return tell_foreign(learner, tasks, foreign)


def _check_foreign(experiment: Experiment, tasks: TaskStream, data: Path | None) -> None:
    """Raise an error before anything is learned, if the foreign inputs are not there or have another shape."""
    foreign, shape = experiment.evaluation.foreign_inputs(data), tasks[0].train.shape
    if foreign is not None and tuple(foreign.shape[1:]) != shape:
        raise ConfigError(
            f"expected foreign inputs of the shape of the tasks' inputs, {shape}, got {tuple(foreign.shape[1:])}; "
            "choose another foreign data set"
        )


def _check(experiment: Experiment, learner: Learner, tasks: TaskStream, workers: Workers | None) -> None:
    """Raise ConfigError now rather than after hours of training, if the settings do not go together."""
    if workers is not None and isinstance(experiment.evaluation, TaskUnknown):
        raise ConfigError("a stream is learned batch by batch, so it cannot use workers; leave them out")
    if workers is not None and experiment.later_epochs is not None:
        raise ConfigError("workers train all tasks alike, but later_epochs is set; leave out one of them")
    learner.method.check(learner.network)
    learner.method.check_tasks(tasks)
    if learner.network.head is not None:
        return  # each task has its own outputs
    outputs, classes = learner.network.outputs(two_of(tasks[0])), len(tasks[0].classes)
    inferences: list[Any] = [found.inference for found in experiment.evaluation.found()]
    superfluous = any(isinstance(getattr(inference, "objective", None), SuperfluousNeurons) for inference in inferences)
    if outputs < classes + superfluous:
        raise ConfigError(
            f"the backbone has {outputs} outputs, but {classes} classes need at least {classes + superfluous}"
            + (" with SuperfluousNeurons, which needs superfluous ones" if superfluous else "")
            + f"; set its outputs, for example: {replace(experiment.net, outputs=100)}"
        )
