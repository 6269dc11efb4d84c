"""The measures of runs side by side, each with its definition: accuracy, forgetting, transfer, bytes, time, memory."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import fmean, stdev
from typing import NamedTuple

from supermasks.report.settings import Record
from supermasks.report.style import decimals
from supermasks.report.summary import grouped
from supermasks.report.tables import NOTHING
from supermasks.report.words import in_markdown

BYTES = {
    "total": "the bank, without the memory for learning further tasks",
    "masks": "masks",
    "packed": "masks at a bit a weight, not a file",
    "entropy_bound": "entropy bound of the masks, not a file",
    "owned": "weights of the shared network that tasks have trained",
    "shared": "shared weights, once for all tasks",
    "dense": "dense weights of the tasks",
    "norm": "buffers of normalisation layers",
    "router": "what a router recognises tasks by",
    "other": "manifest, names, file headers, values of the backbone that no recipe brings back",
    "memory": "memory for learning further tasks, not counted",
    "examples": "examples of earlier tasks in it",
    "trunk": "trunk that the tasks share, beside the bank",
    "paper": "masks and statistics as SupSup counts them, not a file",
}
NOT_FILES = ("packed", "entropy_bound", "paper")
ABOUT = ("Experiment", "Way", "Training and settings")
EXPLAINED = (
    "Accuracy: mean over all tasks, on test examples, after the last task; ± sample standard deviation over seeds. "
    "Forgetting (Chaudhry et al., 2018): how far accuracies fell from their best before the last task, mean over the "
    "tasks but the last. Backward transfer (Lopez-Paz and Ranzato, 2017): how accuracies changed since each task was "
    "learned. Both with the task given. Task identification: decisions about the task that were right. "
    "Bytes: all tasks together, on disk; total counts the bank, and the further columns say what it "
    "holds. Memory for further tasks (of which examples are a part) and a trunk are not part of the total. "
    "Seconds: wall clock, for all tasks. Peak memory: of the whole process that made the run."
)


class Measures(NamedTuple):
    """A table with a line for each group of runs.

    Attributes:
        headers: the first three say what a line is about, the others are numbers.
        lines: as many cells as headers.
    """

    headers: list[str]
    lines: list[list[str]]


def measures(records: Iterable[Record]) -> Measures:
    """Return the measures of runs; runs that differ in nothing but the seed are one line, the mean over their seeds.

    A column that is empty for all runs is left out, and so are bytes and seconds that are 0 for all.

    Args:
        records: as `read_record` or `read_runs` returns them.
    """
    groups = grouped(records)
    columns = {**_COLUMNS, **{f"Bytes: {key}": _bytes(key) for key in BYTES if key not in NOT_FILES}, **_COSTS}
    cells = {name: [column(group) for group, _ in groups] for name, column in columns.items()}
    used = [name for name, column in cells.items() if any(cell not in _EMPTY for cell in column)]
    about = [[_experiment(group[0]), str(group[0].get("way", NOTHING)), words] for group, words in groups]
    lines = [[*first, *(cells[name][number] for name in used)] for number, first in enumerate(about)]
    return Measures([*ABOUT, *used], lines)


def measures_markdown(records: Iterable[Record]) -> str:
    """Return the measures of runs as a table in Markdown, followed by their definitions."""
    headers, lines = measures(records)
    rows = [headers, ["---"] * len(headers), *([in_markdown(cell) for cell in line] for line in lines)]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows) + f"\n\n{EXPLAINED}\n"


def _experiment(record: Record) -> str:
    outputs = f", {record['outputs']} outputs" if record.get("outputs") else ""
    of = f"{record['experiment']} ({record['dataset']}), {record['tasks']:,} tasks ({record['scenario']})"
    return f"{of}, {record['net']}{outputs}"


Column = Callable[[Sequence[Record]], str]
_EMPTY = (NOTHING, "0", "0.0")  # zeros as bytes and seconds have them; percents and points have two digits


def _accuracy(group: Sequence[Record]) -> str:
    percent = [100 * record["accuracy"]["mean"] for record in group]
    spread = f" ± {stdev(percent):.2f}" if len(percent) > 1 else ""
    return f"{fmean(percent):.2f}{spread} ({len(percent)} {'seed' if len(percent) == 1 else 'seeds'})"


def _mean(of: Callable[[Record], float | None], digits: int) -> Column:
    def cell(group: Sequence[Record]) -> str:
        values = [value for record in group if (value := of(record)) is not None]
        mean = decimals(fmean(values), digits) if values else None
        return NOTHING if mean is None else f"{float(mean):,.{digits}f}"

    return cell


def _percent(value: float | None) -> float | None:
    return None if value is None else 100 * value


def _bytes(key: str) -> Column:
    return _mean(lambda record: record["bytes"].get(key), 0)


def _megabytes(record: Record) -> float | None:
    peak = record.get("peak_memory_bytes")
    return None if peak is None else peak / 1e6


_COLUMNS: Mapping[str, Column] = {
    "Accuracy, %": _accuracy,
    "Forgetting, points": _mean(lambda record: _percent(record["accuracy"]["forgetting"]), 2),
    "Backward transfer, points": _mean(lambda record: _percent(record["accuracy"].get("backward_transfer")), 2),
    "Task identification, %": _mean(lambda record: _percent(record["task_identification"]), 2),
}
_COSTS: Mapping[str, Column] = {
    "Seconds to learn": _mean(lambda record: record["seconds"]["train"], 1),
    "Seconds to find the tasks": _mean(lambda record: record["seconds"].get("infer"), 1),
    "Peak memory, MB": _mean(_megabytes, 0),
}
