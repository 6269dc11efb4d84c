"""`supermasks compare`: several ways on the same tasks, with the same search for each."""

import sys
from collections.abc import Iterable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Literal, cast

from supermasks.cli.extra import tyro
from supermasks.cli.screen import print_table, with_bars
from supermasks.errors import ConfigError, TrainingError
from supermasks.experiments import EXPERIMENTS, Experiment
from supermasks.experiments.architectures import Architecture
from supermasks.experiments.comparison import COMPARISON, RUNS, SEARCH, comparison_of, read_comparison
from supermasks.experiments.comparison import compare as run_comparison
from supermasks.experiments.expression import parse
from supermasks.experiments.running.record import RECORD
from supermasks.report import write_frontier, write_html, write_report


def compare(
    experiment: tyro.conf.Positional[str],
    ways: str,
    tasks: int | None = None,
    seeds: int = 2,
    trials: int = 4,
    given: bool = False,
    dataset: str | None = None,
    datasets: str | None = None,
    train_images: int | None = None,
    test_images: int | None = None,
    train_texts: int | None = None,
    test_texts: int | None = None,
    length: int | None = None,
    net: str | None = None,
    steps: int | None = None,
    epochs: float | None = None,
    batch_size: int | None = None,
    precision: Literal["float32", "bfloat16"] | None = None,
    out: Path | None = None,
    data: Path | None = None,
    device: str = "cpu",
) -> None:
    """Run several ways on the same tasks, with the same seeds and training; a search finds the learning rate of each.

    Network and training are those of the first way in the list. Each way keeps its own optimiser; its learning rate is
    searched on held-out training examples. A comparison in the folder is resumed, and other ways and seeds are added;
    they get the tasks, the network and the training of the comparison.

    Args:
        experiment: the name of an experiment of `supermasks run`, such as "split-mnist".
        ways: the names of the ways, separated by commas: "supsup,exssnet,sequential". Settings may follow a name in
            brackets: "masks,lora(rank=1),lora(rank=8,layers='all')". "frontier" is a list of masks and all their
            rivals, for pretrained-text and pretrained-images.
        tasks: how many tasks; by default as many as the experiment has.
        seeds: how many seeds each way is run with: 2 means the seeds 0 and 1.
        trials: how many learning rates each way tries; 1 for no search.
        given: tell each network in testing which task an input is of. Ways with one head a task need this.
        dataset: the data set that the tasks are made of, such as "sample".
        datasets: the data sets of the tasks, one for each, separated by commas: "imdb,reuters-r8".
        train_images: use at most this many training images of each task.
        test_images: use at most this many test images of each task.
        train_texts: use at most this many training texts of each task.
        test_texts: use at most this many test texts of each task.
        length: tokens of a text; longer texts are cut off.
        net: the network, such as "LeNet300(200)".
        steps: training steps for each task.
        epochs: passes over the training examples of each task, instead of steps.
        batch_size: how many examples each step uses.
        precision: number format of the multiplications in training.
        out: folder of the runs and the report; by default in runs/compare, named after the experiment.
        data: folder of the data set; by default $SUPERMASKS_DATA and the cache.
        device: where to compute, such as "cuda".
    """
    if experiment not in EXPERIMENTS:
        raise ConfigError(f"an experiment must be one of {', '.join(EXPERIMENTS)}, got {experiment!r}")
    if steps is not None and epochs is not None:
        raise ConfigError(f"expected --steps or --epochs, got {steps} and {epochs}; leave out one of them")
    duration = {} if steps is None and epochs is None else {"steps": steps, "epochs": epochs}
    several = None if datasets is None else tuple(name.strip() for name in datasets.split(","))
    images = {"tasks": tasks, "dataset": dataset, "train_images": train_images, "test_images": test_images}
    texts = {"datasets": several, "train_texts": train_texts, "test_texts": test_texts, "length": length}
    of_tasks = _given({**images, **texts})
    of_training = {**duration, **_given({"batch_size": batch_size, "precision": precision})}
    _check_options(experiment, of_tasks, (*images, *texts))
    preset = EXPERIMENTS[experiment]
    network = None if net is None else parse(net, Architecture)
    usual = tuple(_changed(each, of_tasks, of_training, network) for each in preset.usual)
    names = [name.strip() for name in _split(ways) if name.strip()]
    folder, like = out or Path("runs") / "compare" / experiment, None
    if (folder / COMPARISON).exists():
        begun = read_comparison(folder).experiments[0]
        if begun.tasks.name == usual[0].tasks.name:  # otherwise the comparison is refused
            like = _changed(begun, of_tasks, of_training, network)
    comparison = comparison_of(replace(preset, usual=usual), names, given, like, seeds=seeds, trials=trials)
    first = comparison.experiments[0]
    if network is not None and first.net != network:
        raise ConfigError(f"{first.way.name} is for {first.way.over.__name__} networks, got --net {net}")
    words = ["supermasks", *sys.argv[1:]]

    def finished(runs: Path) -> None:
        write_frontier([runs], folder / "frontier")

    try:
        with_bars(lambda bars: run_comparison(comparison, folder, data, bars, words, device, finished=finished))
    except TrainingError:  # a way failed; the others are finished
        _show(folder)
        raise
    _show(folder)


def _show(folder: Path) -> None:
    """Report what the folder of a comparison has."""
    runs = folder / RUNS
    if not list(runs.glob(f"*/{RECORD}")):
        return
    paths = [write_report([runs], folder / "report"), write_html([runs], folder / "report.html")]
    paths += write_frontier([runs], folder / "frontier")
    print_table([runs])
    print(f"records  {runs}")
    if (folder / SEARCH).exists():
        print(f"search   {folder / SEARCH}")
    for path in paths:
        print(f"report   {path}")


def _split(ways: str) -> list[str]:
    """Return the parts between commas; those inside of brackets belong to the settings of a way."""
    parts, depth = [""], 0
    for character in ways:
        depth += {"(": 1, ")": -1}.get(character, 0)
        if character == "," and not depth:
            parts.append("")
        else:
            parts[-1] += character
    return parts


def _given(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _changed(
    experiment: Experiment, of_tasks: dict[str, Any], of_training: dict[str, Any], net: Architecture | None
) -> Experiment:
    return replace(
        experiment,
        tasks=replace(cast("Any", experiment.tasks), **of_tasks),
        training=replace(experiment.training, **of_training),
        net=net if net is not None and isinstance(net, experiment.way.over) else experiment.net,
    )


def _check_options(experiment: str, given: Iterable[str], options: Iterable[str]) -> None:
    """Raise ConfigError unless the tasks of an experiment have the settings that are given.

    Args:
        experiment: its name.
        given: the names of settings.
        options: of all settings of tasks that can be given here.
    """
    has = {each.name for each in fields(cast("Any", EXPERIMENTS[experiment].usual[0].tasks))}
    for name in given:
        if name not in has:
            usable = ", ".join(_option(each) for each in options if each in has)
            raise ConfigError(f"the tasks of {experiment} have no {_option(name)}; leave it out. They have {usable}")


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"
