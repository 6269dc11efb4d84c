"""Which runs are seeds of one row, and the settings that tell one row from another."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from supermasks.experiments import EXPERIMENTS
from supermasks.experiments.mnist import OUTPUTS

Record = dict[str, Any]

FOLDER = "folder"  # where a record was read from, which `read_runs` adds to it
# Columns show these; other settings are named where runs of one experiment differ in them.
SHOWN = {"type", "tasks", "seed", "net", "outputs", "dataset", "steps", "epochs", "inference", "objective", "scoring"}
_ABSENT = "not set"


def completed(record: Record) -> Record:
    """Return a record with the settings that its version did not know."""
    return {**record, "config": {**_defaults(record), **record["config"]}}


def outputs_of(record: Record) -> int | None:
    """Return the outputs of the network of a record, also where its config leaves them to the default."""
    config = record["config"]
    outputs: int | None = config.get("outputs")
    return OUTPUTS.get(config["net"]) if outputs is None else outputs


def pool(records: Iterable[Record]) -> list[list[Record]]:
    """Return the records in groups that differ in nothing but the seed, in the order in which these first appear.

    Versions and costs are no settings. A copy of a record counts once. Where a seed was run again, runs are grouped by
    the folder in which they lie, and what then is a repetition still begins a group of its own.

    Args:
        records: with all their settings.
    """
    alike: dict[str, list[Record]] = {}
    for record in records:
        config = {**record["config"], "outputs": outputs_of(record)}
        del config["seed"]
        about = [record[key] for key in ("experiment", "scenario", "method", "tasks")]
        runs = alike.setdefault(key_of([*about, config]), [])
        if all(_content(record) != _content(other) for other in runs):
            runs.append(record)
    return [group for runs in alike.values() for group in _without_repetitions(runs)]


def usual_names(record: Record, others: Sequence[Record]) -> list[str]:
    """Return the settings that no column shows, are not the default, and differ in a run of the same experiment.

    The method is named even where it is the default, which is not the same in all experiments; density and recipe are
    named even where all runs agree in them.
    """
    config, defaults = record["config"], _defaults(record)
    near = [other for other in others if _experiment(other) == _experiment(record)]
    hidden = SHOWN if config.get("density") is None else SHOWN | {"budget"}  # the density decides, not the budget
    named: list[str] = []
    for name in differing([record, *near], but={*hidden, "density", "recipe"}):
        usual = name != "method" and _of(record, name) == key_of(defaults.get(name, _ABSENT))
        if config.get(name) is not None and not usual:
            named.append(name)
    named += [name for name in ("density", "recipe") if config.get(name) not in (None, defaults.get(name))]
    return [name for name in config if name in named]


def differing(records: Sequence[Record], but: Iterable[str] = ("seed", "outputs")) -> list[str]:
    """Return the settings in which any two records differ, in the order in which they first appear.

    Args:
        records: at least one.
        but: what columns show, which is left out.
    """
    names = dict.fromkeys(name for record in records for name in record["config"] if name not in set(but))
    return [name for name in names if len({_of(record, name) for record in records}) > 1]


def in_words(record: Record, names: Iterable[str]) -> str:
    """Return how long a run trained, and the settings of these names."""
    config = record["config"]
    length = f"{config['steps']} steps" if "steps" in config else f"{config['epochs']:g} epochs"
    return ", ".join([length, *(f"{name} {config.get(name, _ABSENT)}" for name in names)])


def folder_in_words(group: Sequence[Record], number: int) -> str:
    """Return the folder of a group, or which group it is where the records were not read from folders."""
    if FOLDER not in group[0]:
        return f"run {number}"
    return f"folder {group[0][FOLDER]}" + (f" and {len(group) - 1} more" if len(group) > 1 else "")


def _defaults(record: Record) -> dict[str, Any]:
    kind = EXPERIMENTS.get(record["experiment"])
    return {} if kind is None else kind.defaults()


def _experiment(record: Record) -> tuple[Any, ...]:
    return record["experiment"], record["tasks"], record["config"]["dataset"]


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


def _of(record: Record, name: str) -> str:
    return key_of(record["config"].get(name, _ABSENT))


def key_of(value: Any) -> str:
    """Return what is the same text for equal values: numbers by their value, so that 10 epochs are 10.0 epochs."""
    return json.dumps(_as_floats(value), sort_keys=True)


def _as_floats(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _as_floats(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_as_floats(entry) for entry in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value
