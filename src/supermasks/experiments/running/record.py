"""The record of a run, `record.json`: the only output of an experiment, and the only input of tables and plots."""

import json
import os
import platform
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from supermasks.errors import RunStateError, SupermasksError
from supermasks.experiments.experiment import Experiment
from supermasks.experiments.running.record_form import fault
from supermasks.experiments.running.schema_1 import from_schema_1
from supermasks.learner import Learner
from supermasks.spec import describe
from supermasks.version import __version__

RECORD = "record.json"
SCHEMA = 2


def about(experiment: Experiment, learner: Learner, command: Sequence[str], device: str) -> dict[str, Any]:
    """Return what a record says of the run itself."""
    return {
        **experiment.headings(),
        "method": type(learner.method).__name__,
        "command": shlex.join(command),
        "config": describe(experiment),
        "versions": {**versions(), "device": device},
    }


def versions() -> dict[str, Any]:
    """Return what the numbers of a run may depend on beside its config."""
    return {
        "supermasks": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "platform": platform.platform(),
        "threads": torch.get_num_threads(),
    }


def peak_memory_bytes() -> int | None:
    """Return the largest resident memory of this process so far; None where the system does not tell."""
    if sys.platform == "win32":
        return None
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def read_json(path: Path) -> Any:
    """Return what `write_json` wrote.

    Raises:
        RunStateError: the file is missing or damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunStateError(f"{path} cannot be read: {error}; restore it, or start anew in another folder") from error


def write_json(path: Path, data: Any) -> None:
    """Write JSON so that the file is there whole or not at all."""
    temporary = path.with_name(path.name + ".partial")
    temporary.write_text(json.dumps(data, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    os.replace(temporary, path)


def append_line(path: Path, row: dict[str, Any]) -> None:
    """Append a row to a file of one JSON object a line."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row, allow_nan=False) + "\n")


def write_lines(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write a file of one JSON object a line, whole or not at all."""
    temporary = path.with_name(path.name + ".partial")
    temporary.write_text("".join(json.dumps(row, allow_nan=False) + "\n" for row in rows), encoding="utf-8")
    os.replace(temporary, path)


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the rows that were appended to a file; an unfinished last line, left by a killed process, is cut off.

    Raises:
        RunStateError: another line is damaged.
    """
    if not path.exists():
        return []
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) < len(content):
        os.truncate(path, len(whole))
    try:
        return [json.loads(line) for line in whole.splitlines()]
    except ValueError as error:
        raise RunStateError(f"{path} is damaged: {error}; restore it, or start anew in another folder") from error


def write_record(folder: Path, record: dict[str, Any]) -> Path:
    """Write the record of a run into its folder, and return the path of the file."""
    write_json(folder / RECORD, {"schema": SCHEMA, **record})
    return folder / RECORD


def read_record(folder: Path) -> dict[str, Any]:
    """Return the record in a run's folder, or in the file itself.

    Raises:
        RunStateError: there is none, or it is not a record that this version reads.
    """
    path = folder / RECORD if folder.is_dir() else folder
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse)
    except FileNotFoundError:
        raise RunStateError(f"there is no {RECORD} in {folder}; the run is not finished: resume it") from None
    except (OSError, ValueError) as error:
        raise RunStateError(f"{path} cannot be read as a record: {error}") from error
    if not isinstance(record, dict) or record.get("schema") not in (1, SCHEMA):
        raise RunStateError(f"{path} is not a record of schema 1 or {SCHEMA}, which this version reads")
    record = record if record["schema"] == SCHEMA else _converted(record, path)
    if found := fault(record):
        raise RunStateError(f"{path} is not as a run writes it: {found}; restore it, or run it again")
    return record


def _refuse(constant: str) -> None:
    raise ValueError(f"it holds {constant}, which no run writes; restore it, or run it again")


def _converted(record: dict[str, Any], path: Path) -> dict[str, Any]:
    try:
        return from_schema_1(record)
    except (LookupError, TypeError, AttributeError, ValueError, ArithmeticError, SupermasksError) as error:
        raise RunStateError(
            f"{path} is damaged: an entry is not as a run of schema 1 wrote it ({error}); restore it, or run it again"
        ) from error
