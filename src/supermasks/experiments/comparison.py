"""Several ways on the same tasks, each with a learning rate that the same number of trials has found."""

import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from supermasks.errors import ConfigError, RunStateError, SupermasksError, TaskError, TrainingError
from supermasks.experiments.experiment import Experiment
from supermasks.experiments.expression import parse, with_defaults
from supermasks.experiments.presets import Preset
from supermasks.experiments.running.folder import flat
from supermasks.experiments.running.lock import alone_in
from supermasks.experiments.running.record import RECORD, append_line, read_json, read_lines, read_record, write_json
from supermasks.experiments.running.record_form import SEARCH_ROW
from supermasks.experiments.running.run import run
from supermasks.experiments.running.watcher import Silent, Watcher
from supermasks.experiments.tasks.held_out import HeldOut
from supermasks.experiments.ways import Way
from supermasks.spec import Settings, build, describe
from supermasks.training import Training
from supermasks.workers import LocalProcesses

COMPARISON, SEARCH, RUNS = "comparison.json", "search.jsonl", "runs"
OPTIMISERS = ("optimiser", "weight_optimiser", "head_rate", "head_first")
"""The settings of a training that each way keeps: they were chosen for it."""
FACTORS = (1.0, 0.3, 3.0, 0.1, 10.0, 0.03, 30.0, 0.01, 100.0)
"""Multiples of the usual learning rate, in the order in which they are tried."""


@dataclass(frozen=True, kw_only=True)
class Comparison(Settings):
    """Experiments that differ in the way, and in what the ways set themselves: optimiser and evaluation.

    Attributes:
        experiments: one for each way; their seed is not used.
        names: what the ways are called in the folder; by default by their names on the command line.
        seeds: how many seeds each way is run with: 0, 1, ...
        trials: how many learning rates each way may try; 1 keeps the usual one, and searches nothing.
        fraction: of the training examples that is held out to compare the learning rates.

    Raises:
        ConfigError: a number is out of range, two experiments have the same way, or they differ in tasks, network, or
            training.
    """

    experiments: tuple[Experiment, ...]
    names: tuple[str, ...] = ()
    seeds: int = 2
    trials: int = 4
    fraction: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.experiments:
            raise ConfigError("no way is named; name some, such as supsup,ewc")
        if self.seeds < 1 or not 1 <= self.trials <= len(FACTORS):
            raise ConfigError(
                f"a comparison needs at least 1 seed and 1 to {len(FACTORS)} trials, got {self.seeds} and {self.trials}"
            )
        if not 0 < self.fraction < 1:
            raise ConfigError(f"the held-out fraction must be above 0 and below 1, got {self.fraction}")
        if not self.names:
            object.__setattr__(self, "names", tuple(experiment.way.name for experiment in self.experiments))
        if len(self.names) != len(self.experiments):
            raise ConfigError(f"expected a name for each of {len(self.experiments)} ways, got {len(self.names)}")
        if twice := [name for name in self.names if self.names.count(name) > 1]:
            raise ConfigError(f"{twice[0]} is named twice; leave one out, or give one of them other settings")
        first = self.experiments[0]
        for experiment in self.experiments:
            if (experiment.tasks, experiment.net) != (first.tasks, first.net):
                raise ConfigError(f"{experiment.way.name} has other tasks or another network than {first.way.name}")
            own, common = _training(experiment), _training(first)
            if differing := [f"{name} {own[name]}, not {common[name]}" for name in own if own[name] != common[name]]:
                raise ConfigError(
                    f"{experiment.way.name} has another training than {first.way.name}: {', '.join(differing)}"
                )


def _training(experiment: Experiment) -> dict[str, Any]:
    """Return the settings of the training that all ways of a comparison have alike."""
    names = [each.name for each in fields(experiment.training) if each.name not in OPTIMISERS]
    return {**{name: getattr(experiment.training, name) for name in names}, "later_epochs": experiment.later_epochs}


def comparison_of(
    preset: Preset, ways: Sequence[str], given: bool = False, like: Experiment | None = None, **numbers: Any
) -> Comparison:
    """Return a comparison of ways on the tasks of an experiment.

    All ways have the same tasks, network and training. Each way has its own optimiser and evaluation.

    Args:
        preset: the experiment.
        ways: their names, or a name of a list of the preset. Settings may follow the name of a way:
            "lora(rank=1)" beside "lora(rank=8, layers='all')".
        given: whether the task is given in testing, for all ways.
        like: the experiment that has these tasks, network and training; None takes that of the first way.
        **numbers: `seeds`, `trials` and `fraction` of the comparison.

    Raises:
        ConfigError: there is no such way, a setting is wrong, or the way does not fit the tasks, the network or the
            evaluation.

    Example:
        >>> from supermasks.experiments import EXPERIMENTS
        >>> found = comparison_of(EXPERIMENTS["split-mnist"], ["exssnet", "sequential"], trials=2)
        >>> [experiment.way.name for experiment in found.experiments]
        ['exssnet', 'sequential']
    """
    if given:
        preset = preset.with_task_given()
    named = [each for way in ways for each in preset.lists.get(way, (way,))]
    usual = [_with_settings(preset, way) for way in named]
    # A way with its usual settings has a short name.
    names = [each.way.name if each.way == preset.of(each.way.name).way else each.way.title for each in usual]
    experiments = tuple(_alike(each, like or usual[0]) for each in usual)
    return Comparison(experiments=experiments, names=tuple(names), **numbers)


def _with_settings(preset: Preset, text: str) -> Experiment:
    """Return the experiment of a way, with the settings that follow its name."""
    name, bracket, settings = text.partition("(")
    usual = preset.of(name.strip().lower())
    if not bracket:
        return usual
    return replace(usual, way=parse(f"{type(usual.way).__name__}({settings}", Way, shown=text))


def _alike(experiment: Experiment, first: Experiment) -> Experiment:
    """Return an experiment with the tasks, the network and the training of another; its optimisers stay its own."""
    own = experiment.training
    optimisers = {name: getattr(own, name) for name in OPTIMISERS}
    training = replace(first.training, **optimisers)
    return replace(
        experiment, tasks=first.tasks, net=first.net, training=training, later_epochs=first.later_epochs, seed=0
    )


def compare(
    comparison: Comparison,
    out: Path,
    data: Path | None = None,
    watcher: Watcher | None = None,
    command: Sequence[str] = (),
    device: str = "cpu",
    apart: bool = True,
    finished: Callable[[Path], object] | None = None,
) -> Path:
    """Run a comparison, and return the folder of its runs; what is finished in the folder is not run again.

    A comparison may have other ways and more or fewer seeds than the one in the folder, which then grows.

    For each way, `trials` learning rates are tried with the first seed. The rate with the best accuracy on held-out
    training examples is used for all seeds. Test examples play no part in this. `search.jsonl` has a line a trial.

    Args:
        comparison: what to run.
        out: the folder.
        data: where the data sets lie; None looks in the usual places.
        watcher: is told of each trial and each run.
        command: kept in the records.
        device: where to compute, such as "cuda".
        apart: whether each run has a process of its own, so that its record has its own peak of memory.
        finished: is called with the folder of the runs, after each run.

    Raises:
        RunStateError: the folder holds another comparison, or another process runs one there, or a file is damaged.
        DataUnavailableError: the data set is not there.
        TrainingError: a way failed: its training diverged, its settings cannot work, or it cannot learn these tasks.
            It is raised after the other ways are finished.
    """
    watcher = watcher or Silent()
    comparison.experiments[0].stream(data)  # data that are not there are noticed before anything is written
    out.mkdir(parents=True, exist_ok=True)
    with alone_in(out):
        _claim(comparison, out)
        searched = comparison.trials if comparison.trials > 1 else 0
        watcher.begin("comparing", len(comparison.experiments) * (searched + comparison.seeds))
        failed = dict[str, SupermasksError]()
        for name, experiment in zip(comparison.names, comparison.experiments, strict=True):
            job = _Job(out, data, (), device)
            try:
                best = _searched(name, experiment, comparison, out, watcher, job, apart) if searched else 1.0
                chosen = replace(experiment, training=_scaled(experiment.training, best))
                for seed in range(comparison.seeds):
                    folder = out / RUNS / f"{name}-seed{seed}"
                    if not (folder / RECORD).exists():
                        _call(_Job(folder, data, tuple(command), device, replace(chosen, seed=seed)), apart)
                        if finished is not None:
                            finished(out / RUNS)
                    mean = read_record(folder)["accuracy"]["mean"]
                    watcher.advance(f"{name}, seed {seed}: {100 * mean:.1f}%")
            except (ConfigError, TaskError, TrainingError) as error:
                failed[name] = error
                watcher.advance(f"{name} failed")
        if failed:
            words = "; ".join(f"{name}: {error}" for name, error in failed.items())
            raise TrainingError(f"{words}. All other ways are finished, in {out / RUNS}")
        return out / RUNS


def _claim(comparison: Comparison, out: Path) -> None:
    """Make the folder that of this comparison, or add to the one that it holds."""
    if not (out / COMPARISON).exists():
        if (out / SEARCH).exists() or (out / RUNS).exists():
            raise RunStateError(f"{out} holds parts of a comparison, but no {COMPARISON}; choose another folder")
        write_json(out / COMPARISON, describe(comparison))
        return
    before = read_comparison(out)
    ways, others = _by_name(before), _by_name(comparison)
    was = {name: describe(value) for name, value in {**ways, **_numbers(before)}.items()}
    now = {name: describe(value) for name, value in {**others, **_numbers(comparison)}.items()}
    changed = [_changes(name, was[name], now[name]) for name in was if name in now and was[name] != now[name]]
    if changed:
        raise RunStateError(
            f"{out} holds another comparison: {'; '.join(changed)}; use the same settings (other ways and seeds may be "
            "added), or another folder by --out"
        )
    both = {**ways, **others}
    seeds = max(before.seeds, comparison.seeds)
    try:
        joined = replace(before, experiments=tuple(both.values()), names=tuple(both), seeds=seeds)
    except ConfigError as error:
        raise RunStateError(
            f"{out} holds another comparison: {error}; leave out the settings that differ, or choose another folder by "
            "--out"
        ) from error
    if joined != before:
        write_json(out / COMPARISON, describe(joined))


def read_comparison(out: Path) -> Comparison:
    """Return the comparison that a folder holds.

    Raises:
        RunStateError: it is missing or damaged, or this version cannot read it.
    """
    try:
        return build(with_defaults(read_json(out / COMPARISON)), Comparison)
    except ConfigError as error:
        raise RunStateError(f"{out} holds a comparison that this version cannot read: {error}") from error


def _by_name(comparison: Comparison) -> dict[str, Experiment]:
    return dict(zip(comparison.names, comparison.experiments, strict=True))


def _numbers(comparison: Comparison) -> dict[str, float]:
    return {"trials": comparison.trials, "fraction": comparison.fraction}


def _changes(name: str, was: Any, now: Any) -> str:
    """Return in words how a setting of a comparison, or the experiment of a way, differs."""
    if not isinstance(was, dict):
        return f"{name} was {was}, now {now}"
    before, after = flat(was), flat(now)
    pairs = {key: (before.get(key, "not set"), after.get(key, "not set")) for key in sorted({*before, *after})}
    return ", ".join(f"{key} of {name} was {old}, now {new}" for key, (old, new) in pairs.items() if old != new)


def _searched(
    way: str, experiment: Experiment, comparison: Comparison, out: Path, watcher: Watcher, job: "_Job", apart: bool
) -> float:
    """Return the multiple of the learning rate that is best on held-out training examples."""
    lines = {line["factor"]: line for line in read_lines(out / SEARCH, SEARCH_ROW) if line["way"] == way}
    for factor in FACTORS[: comparison.trials]:
        if factor not in lines:
            tasks = HeldOut(source=experiment.tasks, fraction=comparison.fraction)
            training = _scaled(experiment.training, factor)
            trial, folder = replace(experiment, tasks=tasks, training=training), out / "trials" / f"{way}-{factor:g}"
            line = {"way": way, "factor": factor, "learning_rate": training.optimiser.learning_rate}
            lines[factor] = {**line, **_tried(replace(job, out=folder, experiment=trial), apart)}
            append_line(out / SEARCH, lines[factor])
            shutil.rmtree(folder)  # its line is what is kept of it
            with suppress(OSError):  # another one, which was stopped, may be there
                folder.parent.rmdir()
        watcher.advance(f"{way}, rate x {factor:g}")
    # Of equal factors the first: it is nearest to the usual rate.
    tried = [lines[factor] for factor in FACTORS[: comparison.trials]]
    best = max(tried, key=lambda line: -1.0 if line["accuracy"] is None else line["accuracy"])
    if best["accuracy"] is None:
        raise TrainingError(f"all {comparison.trials} trials of {way} diverged; start from a lower learning rate")
    return best["factor"]


def _tried(job: "_Job", apart: bool) -> dict[str, Any]:
    """Return the accuracy of a trial on held-out examples, None where the training diverged, and its seconds."""
    start = perf_counter()
    try:
        accuracy = _call(job, apart)
    except TrainingError as error:
        return {"accuracy": None, "error": str(error), "seconds": perf_counter() - start}
    return {"accuracy": accuracy, "seconds": perf_counter() - start}


def _scaled(training: Training, factor: float) -> Training:
    """Return a training with other learning rates: a multiple of those of its optimisers."""
    rates: dict[str, Any] = {}
    for name in ("optimiser", "weight_optimiser"):
        optimiser = getattr(training, name)
        if optimiser is not None:
            rates[name] = replace(optimiser, learning_rate=float(f"{factor * optimiser.learning_rate:.6g}"))
    return replace(training, **rates)


@dataclass(frozen=True)
class _Job:
    """One run, as something to send to another process."""

    out: Path
    data: Path | None
    command: tuple[str, ...]
    device: str
    experiment: Experiment | None = None

    def __call__(self, number: int) -> float:
        del number
        assert self.experiment is not None, "a job is called with an experiment"
        finished = run(self.experiment, self.out, self.data, resume=True, command=self.command, device=self.device)
        return finished.record["accuracy"]["mean"]


def _call(job: _Job, apart: bool) -> float:
    if not apart:
        return job(0)
    ((_, accuracy),) = LocalProcesses(1, threads=torch.get_num_threads()).run(job, [0])
    return accuracy
