"""The record of a run, `record.json`: the only output of an experiment, and the only input of tables and plots."""

import hashlib
import json
import os
import platform
import shlex
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from supermasks.errors import RunStateError, SupermasksError
from supermasks.experiments.experiment import Experiment
from supermasks.experiments.running.record_form import ANY_ROW, Form, fault, row_fault
from supermasks.experiments.running.schema_1 import from_schema_1
from supermasks.files import write_file
from supermasks.learner import Learner
from supermasks.spec import describe
from supermasks.version import __version__

RECORD = "record.json"
SCHEMA = 2
DIGEST = "sha"
"""The entry of a row that has the first digits of the SHA-256 of the others; rows of older versions have none."""

DEEPEST = 100
"""How deep lists and tables may be nested in a file of a run."""


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
        return _loaded(path.read_bytes())
    except (OSError, ValueError) as error:
        raise RunStateError(f"{path} cannot be read: {error}; restore it, or start anew in another folder") from error


def write_json(path: Path, data: Any) -> None:
    """Write JSON so that the file is there whole or not at all."""
    write_file(path, (json.dumps(data, indent=1, allow_nan=False) + "\n").encode())


def append_line(path: Path, row: dict[str, Any]) -> None:
    """Append a row to a file of one JSON object a line, with a digest by which `read_lines` notices a change."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(with_digest(row), allow_nan=False) + "\n")
        file.flush()
        os.fsync(file.fileno())  # the bank survives a power cut, so its log has to


def write_lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write a file of one JSON object a line, whole or not at all."""
    write_file(path, *((json.dumps(row, allow_nan=False) + "\n").encode() for row in rows))


def with_digest(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row with its digest."""
    content = json.dumps(row, allow_nan=False, sort_keys=True).encode()
    return {**row, DIGEST: hashlib.sha256(content).hexdigest()[:16]}


def read_lines(path: Path, form: Form = ANY_ROW) -> list[dict[str, Any]]:
    """Return the rows that were appended to a file; an unfinished last line, left by a killed process, is cut off.

    Args:
        path: of the file.
        form: of a row.

    Raises:
        RunStateError: another line is damaged.
    """
    if not path.exists():
        return []
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) < len(content):
        os.truncate(path, len(whole))
    rows = list[dict[str, Any]]()
    for number, line in enumerate(whole.splitlines(), 1):
        try:
            rows.append(_row(line, form))
        except ValueError as error:
            raise RunStateError(
                f"{path} is damaged: line {number}: {error}; restore it, or start anew in another folder"
            ) from error
    return rows


def _row(line: bytes, form: Form) -> dict[str, Any]:
    row = _loaded(line)
    if found := row_fault(row, form):
        raise ValueError(found)
    digest = row.pop(DIGEST, None)
    if digest is not None and digest != with_digest(row)[DIGEST]:
        raise ValueError("its digest is that of another row")
    return row


def _loaded(content: bytes) -> Any:
    """Return what JSON holds.

    Raises:
        ValueError: it is not JSON, or not as a run writes it.
    """
    try:
        data = json.loads(content, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    layer = [data]
    for _ in range(DEEPEST):
        layer = [each for value in layer if isinstance(value, (dict, list)) for each in _inside(value)]
        if not layer:
            return data
    raise ValueError("it is nested too deeply")


def _inside(value: dict[str, Any] | list[Any]) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value


def write_record(folder: Path, record: dict[str, Any]) -> Path:
    """Write the record of a run into its folder, and return the path of the file.

    Raises:
        RunStateError: `read_record` would refuse it.
    """
    content = {"schema": SCHEMA, **record}
    if found := fault(json.loads(json.dumps(content))):
        raise RunStateError(
            f"{folder / RECORD} could not be read again, so it was not written: {found}; if the run was resumed, its "
            "files are damaged: start anew in another folder"
        )
    write_json(folder / RECORD, content)
    return folder / RECORD


def read_record(folder: Path) -> dict[str, Any]:
    """Return the record in a run's folder, or in the file itself.

    Raises:
        RunStateError: there is none, or it is not a record that this version reads.
    """
    path = folder / RECORD if folder.is_dir() else folder
    try:
        record: dict[str, Any] = _loaded(path.read_bytes())
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
