"""`supermasks run`: one command an experiment, with the options of one way."""

import inspect
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import field, make_dataclass, replace
from dataclasses import fields as fields_of
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, cast, get_type_hints

from supermasks.cli.extra import SubcommandApp, tyro
from supermasks.cli.screen import finish, with_bars
from supermasks.errors import ConfigError
from supermasks.experiments import EXPERIMENTS, Experiment, Preset, run
from supermasks.experiments.architectures import Architecture
from supermasks.spec import Settings
from supermasks.workers import LocalProcesses, RayCluster, Workers

PARTS = ("tasks", "way", "training", "evaluation")
OTHERS = ("net", "later_epochs", "seed")
SCENARIOS = {
    "gg": "the task is given in training and testing",
    "gnu": "the task is given in training only",
    "nns": "no task labels",
}


def run_commands(words: Sequence[str]) -> SubcommandApp:
    """Return the commands of `supermasks run`.

    Args:
        words: that were typed; the experiment that they name has the options of the way that they name.
    """
    app = SubcommandApp()
    for name, preset in EXPERIMENTS.items():
        named = words if words[1:2] == [name] else ()
        app.command(name=name)(
            _command(_as_long_as(preset.of(_option(named, "--way"), _option(named, "--scenario")), named), preset)
        )
    return app


def _as_long_as(usual: Experiment, words: Sequence[str]) -> Experiment:
    """Return an experiment whose training is in steps or in epochs, as the words say."""
    training = usual.training
    if any(word.partition("=")[0] == "--steps" for word in words):
        training = replace(training, steps=training.steps or 1, epochs=None)
    elif any(word.partition("=")[0] == "--epochs" for word in words):
        training = replace(training, steps=None, epochs=training.epochs or 1)
    return replace(usual, training=training)


def _option(words: Sequence[str], option: str) -> str | None:
    """Return the last value of an option among the words; None if they lack it."""
    value = None
    for word, following in pairwise([*words, ""]):
        if word == option:
            value = following
        elif word.startswith(f"{option}="):
            value = word.removeprefix(f"{option}=")
    return value


def _command(usual: Experiment, preset: Preset) -> Callable[..., None]:
    """Return the command that runs one experiment; its options are the settings of the parts of the experiment."""

    def command(
        settings: Any,
        way: Any,
        scenario: Any,
        out: Path | None = None,
        data: Path | None = None,
        resume: bool = False,
        workers: int | None = None,
        ray: str | None = None,
        device: str = "cpu",
    ) -> None:
        del way, scenario  # they have decided which options there are
        experiment = _experiment(usual, settings)
        folder = out or Path("runs") / experiment.title
        words = ["supermasks", *(word for word in sys.argv[1:] if word != "--resume")]
        made = _workers(workers, ray)
        with_bars(lambda bars: run(experiment, folder, data, resume, bars, words, made, device))
        finish(folder)

    scenarios = tuple(preset.scenarios())
    command.__doc__ = f"""{preset.text}

    Args:
        settings: the settings.
        way: a method with its settings, under a short name; the options below are those of this way.
        scenario: what is known of the task: {" or ".join(f'"{name}" ({SCENARIOS[name]})' for name in scenarios)}.
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
    command.__annotations__["scenario"] = Annotated[Literal[scenarios], tyro.conf.arg(name="scenario")]
    scenario = usual.evaluation.scenario.name.lower()
    command.__defaults__ = (usual.way.name, scenario, *(command.__defaults__ or ()))
    return command


def _options(usual: Experiment) -> Any:
    """Return a dataclass of the parts of an experiment, each of its own class, with the usual settings as defaults."""
    types: dict[str, Any] = {
        **{part: _plain(getattr(usual, part)) for part in PARTS},
        "net": Architecture,
        "later_epochs": float | None,
        "seed": int,
    }
    defaults = {**{part: types[part]() for part in PARTS}, **{name: getattr(usual, name) for name in OTHERS}}
    fields = [(name, types[name], field(default=defaults[name])) for name in (*PARTS, *OTHERS)]
    options = make_dataclass("Options", fields, frozen=True)
    options.__doc__ = """The settings.

    Attributes:
        net: the network, with arguments where they are not the default, such as "LeNet300(200)".
        later_epochs: epochs of the tasks after the first; None for those of the first.
        seed: of everything random.
    """
    return options


def _plain(settings: Settings) -> Any:
    """Return a dataclass with the fields of settings, their values as defaults, that checks nothing.

    The settings themselves check when all words are read, so that their errors are those of the library.
    """
    hints, kind = get_type_hints(type(settings)), cast(Any, type(settings))
    own = [(each.name, hints[each.name], field(default=getattr(settings, each.name))) for each in fields_of(kind)]
    plain = make_dataclass(kind.__name__, own, frozen=True)
    plain.__doc__ = _documentation(kind)
    return plain


def _documentation(kind: type) -> str:
    """Return what a class and those above it say of their settings, in one docstring."""
    texts = [inspect.getdoc(each) or "" for each in kind.__mro__ if issubclass(each, Settings) and each is not Settings]
    attributes = [
        found[1].rstrip() for text in texts if (found := re.search(r"Attributes:\n((?:    .*\n?|\n)+)", text))
    ]
    return texts[0].partition("\n\nAttributes:")[0] + "\n\nAttributes:\n" + "\n".join(attributes)


def _experiment(usual: Experiment, options: Any) -> Experiment:
    """Return the experiment that options say."""
    parts: dict[str, Any] = {}
    for part in PARTS:
        chosen = getattr(options, part)
        values = {each.name: getattr(chosen, each.name) for each in fields_of(chosen)}
        parts[part] = type(getattr(usual, part))(**values)
    return Experiment(**parts, **{name: getattr(options, name) for name in OTHERS})


def _workers(count: int | None, ray: str | None) -> Workers | None:
    if count is not None and ray is not None:
        raise ConfigError("tasks are learned by processes of this machine or on a Ray cluster; choose one")
    if ray is not None:
        return RayCluster(ray)
    return None if count is None else LocalProcesses(count)
