"""`supermasks run`: one command an experiment, with the options of one way."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import field, make_dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

from supermasks.cli.extra import SubcommandApp, tyro
from supermasks.cli.screen import finish, with_bars
from supermasks.errors import ConfigError
from supermasks.experiments import EXPERIMENTS, Experiment, Preset, run
from supermasks.experiments.backbones import Backbone
from supermasks.training import Training
from supermasks.workers import LocalProcesses, RayCluster, Workers

COMPOSED = ("tasks", "net", "way", "training", "evaluation", "later_epochs", "seed")


def run_commands(words: Sequence[str]) -> SubcommandApp:
    """Return the commands of `supermasks run`.

    Args:
        words: that were typed; the experiment that they name has the options of the way that they name.
    """
    app = SubcommandApp()
    for name, preset in EXPERIMENTS.items():
        named = words if words[1:2] == [name] else ()
        app.command(name=name)(_command(_as_long_as(preset.of(_way_in(named)), named), preset))
    return app


def _as_long_as(usual: Experiment, words: Sequence[str]) -> Experiment:
    """Return an experiment whose training is in steps or in epochs, as the words say."""
    training = usual.training
    if any(word.partition("=")[0] == "--steps" for word in words):
        training = replace(training, steps=training.steps or 1, epochs=None)
    elif any(word.partition("=")[0] == "--epochs" for word in words):
        training = replace(training, steps=None, epochs=training.epochs or 1)
    return replace(usual, training=training)


def _way_in(words: Sequence[str]) -> str | None:
    """Return the way that the words name; None if they name none."""
    for word, following in pairwise([*words, ""]):
        if word == "--way":
            return following
        if word.startswith("--way="):
            return word.removeprefix("--way=")
    return None


def _command(usual: Experiment, preset: Preset) -> Callable[..., None]:
    """Return the command that runs one experiment; its options are the settings of the parts of the experiment."""

    def command(
        settings: Any,
        way: Any,
        out: Path | None = None,
        data: Path | None = None,
        resume: bool = False,
        workers: int | None = None,
        ray: str | None = None,
        device: str = "cpu",
    ) -> None:
        del way  # it has decided which options there are
        experiment = Experiment(**{name: getattr(settings, name) for name in COMPOSED})
        folder = out or Path("runs") / experiment.title
        words = ["supermasks", *(word for word in sys.argv[1:] if word != "--resume")]
        made = _workers(workers, ray)
        with_bars(lambda bars: run(experiment, folder, data, resume, bars, words, made, device))
        finish(folder)

    command.__doc__ = f"""{preset.text}

    Args:
        settings: the settings.
        way: how the tasks are kept apart; the options below are those of this way.
        out: folder for the bank, the record and the report; by default in runs, named after the settings.
        data: folder of the data set; by default $SUPERMASKS_DATA and the cache.
        resume: resume the run that was stopped in the folder.
        workers: learn and recognise so many tasks at the same time, each in a process of one thread.
        ray: learn tasks on a Ray cluster, at this address ("auto" for the one of this machine).
        device: where to compute, such as "cuda".
    """
    names = tuple(preset.ways())
    command.__annotations__["settings"] = tyro.conf.OmitArgPrefixes[_options(usual)]
    command.__annotations__["way"] = Annotated[Literal[names], tyro.conf.arg(name="way")]
    command.__defaults__ = (usual.way.name, *(command.__defaults__ or ()))
    return command


def _options(usual: Experiment) -> Any:
    """Return a dataclass of the parts of an experiment, each of its own class, with the usual settings as defaults."""
    types: dict[str, Any] = {
        "tasks": type(usual.tasks),
        "net": Backbone,
        "way": type(usual.way),
        "training": Training,
        "evaluation": type(usual.evaluation),
        "later_epochs": float | None,
        "seed": int,
    }
    fields = [(name, types[name], field(default=getattr(usual, name))) for name in COMPOSED]
    options = make_dataclass("Options", fields, frozen=True)
    options.__doc__ = """The settings.

    Attributes:
        net: the network, with arguments where they are not the default, such as "LeNet300(200)".
        later_epochs: epochs of the tasks after the first; None for as many.
        seed: of everything random.
    """
    return options


def _workers(count: int | None, ray: str | None) -> Workers | None:
    if count is not None and ray is not None:
        raise ConfigError("tasks are learned by processes of this machine or on a Ray cluster; choose one")
    if ray is not None:
        return RayCluster(ray)
    return None if count is None else LocalProcesses(count)
