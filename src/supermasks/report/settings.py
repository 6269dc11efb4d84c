"""Which runs are seeds of one row, and the settings that tell one row from another."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from supermasks.experiments import EXPERIMENTS
from supermasks.experiments.expression import brief, with_defaults
from supermasks.spec import describe
from supermasks.types import GG

Record = dict[str, Any]

FOLDER = "folder"  # where a record was read from, which `read_runs` adds to it
PARTS = ("tasks", "net", "way", "training", "evaluation")  # of the config of an experiment
# Columns show these; other settings are named where runs of one experiment differ in them.
SHOWN = {
    "type", "tasks type", "net type", "training type", "evaluation type",
    "tasks", "seed", "outputs", "dataset", "datasets", "steps", "epochs", "inference", "scoring", "further",
}  # fmt: skip
ALWAYS = ("rule", "initial")  # named wherever they are not the usual ones
_ABSENT = "not set"


def completed(record: Record) -> Record:
    """Return a record with the settings that its version did not know: they had their defaults."""
    return {**record, "config": with_defaults(record["config"])}


def settings_of(record: Record) -> dict[str, Any]:
    """Return the settings of a record by name, those of all parts side by side; the way is named as the class is."""
    settings: dict[str, Any] = {}
    for name, value in record["config"].items():
        if name not in PARTS or not isinstance(value, dict):
            settings[name] = value
            continue
        settings["way" if name == "way" else f"{name} type"] = value.get("type")
        settings |= {key: each for key, each in value.items() if key != "type"}
    if isinstance(record["config"].get("way"), dict):
        settings["way"] = record.get("way", settings["way"])
    return settings


def pool(records: Iterable[Record]) -> list[list[Record]]:
    """Return the records in groups that differ in nothing but the seed, in the order in which these first appear.

    Versions and costs are no settings. A copy of a record counts once. Where a seed was run again, runs are grouped by
    the folder in which they lie; a repetition beyond that begins a group of its own.

    Args:
        records: with all their settings.
    """
    alike: dict[str, list[Record]] = {}
    for record in records:
        settings = settings_of(record)
        del settings["seed"]
        about = [record[key] for key in ("experiment", "scenario", "method", "tasks")]
        runs = alike.setdefault(key_of([*about, settings]), [])
        if all(_content(record) != _content(other) for other in runs):
            runs.append(record)
    return [group for runs in alike.values() for group in _without_repetitions(runs)]


def usual_names(record: Record, others: Sequence[Record]) -> list[str]:
    """Return the settings that no column shows, are not the usual ones, and differ in a run of the same experiment.

    The way is named even where it is the default and others are not. The way, the rule of its masks, and what scores
    begin with, are named even where all runs agree in them, unless they are the usual ones.
    """
    settings, usual = settings_of(record), _usual(record)
    near = [other for other in others if _experiment(other) == _experiment(record)]
    named = set[str]()
    for name in differing([record, *near], but=SHOWN):
        default = name != "way" and key_of(settings.get(name, _ABSENT)) == key_of(usual.get(name, _ABSENT))
        if settings.get(name) is not None and not default:
            named.add(name)
    named |= {name for name in ALWAYS if settings.get(name) not in (None, usual.get(name))}
    if record.get("way") != _first_way(record):
        named.add("way")
    return [name for name in settings if name in named]


def differing(records: Sequence[Record], but: Iterable[str] = ("seed", "outputs")) -> list[str]:
    """Return the settings in which any two records differ, in the order in which they first appear.

    Args:
        records: at least one.
        but: settings that columns show, which are left out.
    """
    settings = [settings_of(record) for record in records]
    names = dict.fromkeys(name for each in settings for name in each if name not in set(but))
    return [name for name in names if len({key_of(each.get(name, _ABSENT)) for each in settings}) > 1]


def in_words(record: Record, names: Iterable[str]) -> str:
    """Return how long a run trained, and the settings of these names."""
    settings = settings_of(record)
    steps, epochs = settings.get("steps"), settings.get("epochs")
    length = f"{brief(epochs)} epochs" if steps is None else f"{brief(steps)} steps"
    return ", ".join([length, *(f"{name} {_text(settings.get(name, _ABSENT))}" for name in names)])


def _text(value: Any) -> str:
    # A float that `brief` would round keeps its digits: it may be all that tells two rows apart.
    return repr(value) if isinstance(value, float) else brief(value)


def folder_in_words(group: Sequence[Record], number: int) -> str:
    """Return the folder of a group, or which group it is where the records were not read from folders."""
    if FOLDER not in group[0]:
        return f"run {number}"
    return f"folder {group[0][FOLDER]}" + (f" and {len(group) - 1} more" if len(group) > 1 else "")


def _usual(record: Record) -> dict[str, Any]:
    """Return the settings that an experiment of this name begins with, by this way."""
    preset = EXPERIMENTS.get(record["experiment"])
    if preset is None:
        return {}
    if record["scenario"] == GG.name:
        preset = preset.with_task_given()
    way = record.get("way")
    usual = preset.of(way if way in preset.ways() else None)
    return settings_of({"config": with_defaults(describe(usual)), "way": usual.way.name})


def _first_way(record: Record) -> str | None:
    """Return the way that an experiment of this name has by default; the record's own where there is no such name."""
    preset = EXPERIMENTS.get(record["experiment"])
    return record.get("way") if preset is None else preset.of().way.name


def _experiment(record: Record) -> tuple[Any, ...]:
    return record["experiment"], record["tasks"], record["dataset"]


def _content(record: Record) -> Record:
    return {key: value for key, value in record.items() if key != FOLDER}


def _without_repetitions(runs: Sequence[Record]) -> list[list[Record]]:
    """Return runs of equal settings in groups in which each seed is there once."""
    if len({run["seed"] for run in runs}) == len(runs):
        return [list(runs)]
    parents: dict[str, list[dict[int, Record]]] = {}
    for run in runs:
        groups = parents.setdefault(run.get(FOLDER, "").rpartition("/")[0], [])
        free = next((group for group in groups if run["seed"] not in group), None)
        if free is None:
            groups.append({run["seed"]: run})
        else:
            free[run["seed"]] = run
    return [list(group.values()) for groups in parents.values() for group in groups]


def key_of(value: Any) -> str:
    """Return the same text for equal values: numbers by their value, so that 10 epochs are 10.0 epochs."""
    return json.dumps(_as_floats(value), sort_keys=True)


def _as_floats(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _as_floats(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_as_floats(entry) for entry in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value
