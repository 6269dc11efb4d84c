"""Runs the rows of a table that can be run, each in a folder of its own; what was stopped is resumed."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from supermasks.errors import DataUnavailableError, MissingExtraError
from supermasks.experiments import Experiment, Watcher, read_record, run
from supermasks.experiments.running.record import RECORD
from supermasks.papers.scale import Scale
from supermasks.papers.table import Row, Table
from supermasks.spec import describe


@dataclass(frozen=True)
class Result:
    """The run of a row, or why there is none.

    Attributes:
        row: of the table.
        record: of the run; None if the row was left out.
        reason: why it was left out.
        differs: how the run differs from the paper's.
    """

    row: Row
    record: dict[str, Any] | None
    reason: str = ""
    differs: tuple[str, ...] = ()


def run_table(
    table: Table,
    out: Path,
    *,
    scale: Scale | None = None,
    seed: int = 0,
    data: Path | None = None,
    device: str = "cpu",
    watcher: Watcher | None = None,
    command: Sequence[str] = (),
) -> list[Result]:
    """Run what can be run of a table.

    Rows with the same experiment share a run. A finished run is not made again, and a stopped one is resumed.

    Args:
        table: of a paper.
        out: the folder of the runs.
        scale: how small; None for the paper's scale.
        seed: of all runs.
        data: where the data sets lie; None looks in the usual places.
        device: where to compute, such as "cuda".
        watcher: is told how far each run is.
        command: kept in the records.
    """
    results: list[Result] = []
    for row in table.rows:
        if row.experiment is None:
            results.append(Result(row, None, row.missing))
            continue
        try:
            experiment, differs = at_scale(row, row.experiment, scale, seed, data)
            folder = out / folder_name(experiment)
            if not (folder / RECORD).exists():
                run(experiment, folder, data, True, watcher, command, device=device)
        except (DataUnavailableError, MissingExtraError) as error:
            results.append(Result(row, None, str(error)))
            continue
        results.append(Result(row, read_record(folder), differs=differs))
    return results


def at_scale(
    row: Row, experiment: Experiment, scale: Scale | None, seed: int, data: Path | None
) -> tuple[Experiment, tuple[str, ...]]:
    """Return the experiment that `run_table` runs for a row, and how it differs from the paper's.

    Args:
        row: of a table.
        experiment: of the row.
        scale: how small; None for the paper's scale.
        seed: of the run.
        data: where the data sets lie; None looks in the usual places.

    Raises:
        DataUnavailableError: no data for a small version are at hand.
    """
    experiment, differs = replace(experiment, seed=seed), [row.differs] if row.differs else []
    if scale is not None:
        experiment, changed = scale.small(experiment, data)
        differs += changed
    return experiment, tuple(differs)


def folder_name(experiment: Experiment) -> str:
    """Return the name of the folder of a run: its title, and a digest of all its settings."""
    digest = hashlib.sha256(json.dumps(describe(experiment), sort_keys=True).encode()).hexdigest()[:8]
    return f"{experiment.title}-{digest}"
