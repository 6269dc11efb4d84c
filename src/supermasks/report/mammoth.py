"""Results in the words of Mammoth, a framework of continual learning, as JSON: for tables and plots of others."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import Any

from supermasks.experiments.running.record import write_lines
from supermasks.report.settings import Record, pool
from supermasks.report.write import read_runs
from supermasks.types import GNS, NNS

FILE = "logs.jsonl"
LONGEST = 200  # bytes of the name of a folder; file systems allow 255
LABELS_SHARED = [scenario.name for scenario in (GNS, NNS)]
NAMES: Mapping[tuple[str, str], str] = MappingProxyType(
    {
        ("permuted-mnist", "mnist"): "perm-mnist",
        ("rotated-mnist", "mnist"): "rot-mnist",
        ("split-mnist", "mnist"): "seq-mnist",
        ("split-mnist-unknown", "mnist"): "seq-mnist",
        ("split-cifar10", "cifar10"): "seq-cifar10",
    }
)
"""Mammoth's name of an experiment with a data set. Its tasks have the classes in their order, as these have."""


def write_mammoth(folders: Sequence[Path], out: Path) -> list[Path]:
    """Write the results of runs as lines of JSON with the keys of Mammoth's logs, and return the files.

    Each setting, benchmark and way has a file, such as `task-il/perm-mnist/supsup/logs.jsonl`, with a line for each
    run. A copy of a run counts once. Where Mammoth has no name for a benchmark, it is called by its experiment and its
    data set. The setting "task-il" has the accuracies with the task given. Where the task was inferred, "domain-il" (a
    right label counts, whatever the task) or "class-il" has those with the task unknown. Accuracies are in percent:

    - `accuracy_J_taskI`: of task J, when I tasks were learned;
    - `accmean_taskI`: their mean over the tasks so far;
    - `forgetting`, `backward_transfer`: with the task given only; `forward_transfer` is null, no run measures it.

    Only what a run has measured is written. A long run measures most tasks at its end only.

    Args:
        folders: as for `read_runs`.
        out: folder for the files.

    Raises:
        RunStateError: a folder holds no record, or one that cannot be read.
    """
    files = dict[Path, list[dict[str, Any]]]()
    for record in chain.from_iterable(pool(read_runs(folders).values())):
        for setting, line in _lines(record):
            path = out / setting / _file_name(line["dataset"]) / _file_name(line["model"]) / FILE
            files.setdefault(path, []).append(line)
    for path, lines in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_lines(path, lines)
    return list(files)


def _lines(record: Record) -> list[tuple[str, dict[str, Any]]]:
    """Return the settings of a run, each with its line."""
    accuracy, about = record["accuracy"], _about(record)
    rows = accuracy["matrix"] or [*[[]] * (record["tasks"] - 1), accuracy["given_per_task"]]
    given = {**about, **_accuracies(rows), "forward_transfer": None}
    for name in ("backward_transfer", "forgetting"):
        given[name] = None if accuracy[name] is None else 100 * accuracy[name]
    lines = [("task-il", given)]
    if record["evaluations"]:
        inferred = _accuracies([*[[]] * (record["tasks"] - 1), accuracy["per_task"]])
        nothing = dict.fromkeys(("forward_transfer", "backward_transfer", "forgetting"))
        setting = "domain-il" if record["scenario"] in LABELS_SHARED else "class-il"
        lines.append((setting, {**about, **inferred, **nothing}))
    return lines


def _benchmark(record: Record) -> str:
    """Return the name of a benchmark, in which the data set is named as well."""
    experiment, data = record["experiment"], record["dataset"]
    named = experiment if f"-{experiment}".endswith(f"-{data}") else f"{experiment}-{data}"
    return NAMES.get((experiment, data), named)


def _file_name(text: str) -> str:
    """Return a text as the name of one folder: a record of somebody else may hold any text, of any length."""
    name = re.sub(r"[^\w .,()=+-]+", "_", text)
    if len(name.encode()) > LONGEST:
        cut = name.encode()[:LONGEST].decode(errors="ignore")
        name = f"{cut}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
    return "_" if name.strip(". ") == "" else name


def _about(record: Record) -> dict[str, Any]:
    training: dict[str, Any] = record["config"].get("training") or {}
    return {
        "dataset": _benchmark(record),
        "model": record["way"],
        "backbone": record["net"],
        "seed": record["seed"],
        "n_tasks": record["tasks"],
        "n_epochs": training.get("epochs"),
        "batch_size": training.get("batch_size"),
        "command": record["command"],
        "config": json.loads(json.dumps(record["config"])),
    }


def _accuracies(rows: Sequence[Sequence[float | None]]) -> dict[str, float]:
    """Return the accuracies after each task, for those tasks that were measured."""
    found = dict[str, float]()
    for after, row in enumerate(rows, start=1):
        measured = [(task, 100 * value) for task, value in enumerate(row[:after], start=1) if value is not None]
        found |= {f"accuracy_{task}_task{after}": value for task, value in measured}
        if len(measured) == after:
            found[f"accmean_task{after}"] = sum(value for _, value in measured) / after
    return found
