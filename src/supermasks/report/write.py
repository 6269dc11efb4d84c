"""A report of runs as a folder: `report.md` and the pictures that it shows."""

import os
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from supermasks.brief import visible
from supermasks.errors import RunStateError
from supermasks.experiments.expression import brief
from supermasks.experiments.running.record import RECORD, read_record
from supermasks.papers import published
from supermasks.report.comparison import plot_runs
from supermasks.report.measures import BYTES, measures_markdown
from supermasks.report.plots import plot_record
from supermasks.report.settings import FOLDER, Record, settings_of
from supermasks.report.so_far import plot_so_far
from supermasks.report.summary import summarise
from supermasks.report.tables import markdown_table
from supermasks.report.tradeoff import plot_tradeoff
from supermasks.report.words import as_code, in_markdown

CAPTIONS = {
    "accuracy": "final accuracy of each task",
    "forgetting": "accuracy of each task after each further task",
    "bytes": "what the bank takes on disk",
    "among": "accuracy against the number of tasks to choose among",
    "growth": "what each further task costs",
    "stream": "the masks that a stream opened, and how they answer",
    "comparison": "accuracy of all rows",
    "tradeoff": "accuracy against bytes a task",
    "so_far": "accuracy on the tasks so far, while tasks are learned",
}


def write_report(folders: Sequence[Path], out: Path) -> Path:
    """Write tables and pictures of runs, and return the path of `report.md`.

    Args:
        folders: each is the folder of a run, or has such folders somewhere in it, or is a record itself.
        out: folder for the report; with several runs each has a folder in it for its own pictures.

    Raises:
        RunStateError: a folder holds no record, or one that cannot be read.
    """
    runs = read_runs(folders)
    out.mkdir(parents=True, exist_ok=True)
    pictures_of_all = (plot_runs, plot_tradeoff, plot_so_far)
    summary = [path for plot in pictures_of_all for path in plot(runs.values(), out)]
    tables = [markdown_table(summarise(runs.values())).rstrip(), measures_markdown(runs.values()).rstrip()]
    parts = ["# Report", *tables, _images(summary, out)]
    for name, record in runs.items():
        pictures = plot_record(record, out if len(runs) == 1 else out / name)
        parts.append(_section(name, record, pictures, out))
    report = out / "report.md"
    report.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    return report


def read_runs(folders: Sequence[Path]) -> dict[str, Record]:
    """Return the records of runs, by a name for each; each also says in which folder it lies.

    Args:
        folders: each is the folder of a run, or has such folders somewhere in it, or is a record itself.

    Raises:
        RunStateError: a folder holds no record, or one that cannot be read.
    """
    paths = list(dict.fromkeys(path.resolve() for folder in folders for path in _find(folder)))
    if not paths:
        raise RunStateError("a report needs the folder of at least one run, but none was given; name one")
    return {name: {**_read(path), FOLDER: folder} for path, name, folder in zip(paths, *_names(paths), strict=True)}


def _read(path: Path) -> Record:
    """Return a record from which a table can be made."""
    record = read_record(path)
    try:
        record["published"] = published(record)
        summarise([record])
    except (LookupError, TypeError, AttributeError, ValueError, ArithmeticError) as error:
        raise RunStateError(
            f"{path} is not as a run writes it ({type(error).__name__}: {error}); restore it, or run it again"
        ) from error
    return record


def _find(folder: Path) -> list[Path]:
    """Return the records in a folder; not those below a record, since a run's folder has no runs in it."""
    if folder.is_file():
        return [folder]
    found: list[Path] = []
    for parent, below, files in os.walk(folder):
        below.sort()
        if RECORD in files:
            below.clear()
            found.append(Path(parent) / RECORD)
    if not found:
        raise RunStateError(f"there is no {RECORD} in {folder} or below it; give the folder of a finished run")
    return found


def _names(paths: Sequence[Path]) -> tuple[list[str], list[str]]:
    """Return a name for each run, and its folder: with those above it where the names would be the same."""
    parts = [[part for part in path.parent.parts if part != path.anchor] for path in paths]
    for depth in range(1, max(map(len, parts)) + 1):
        names = ["-".join(part[-depth:]) for part in parts]
        if len(set(names)) == len(names):
            return names, ["/".join(part[-max(depth, 2) :]) for part in parts]
    return [f"run-{number}" for number in range(1, len(paths) + 1)], ["/".join(part) for part in parts]


def _section(name: str, record: Record, pictures: Sequence[Path], out: Path) -> str:
    config = as_code(", ".join(f"{key}={brief(value)}" for key, value in settings_of(record).items()))
    versions = in_markdown(", ".join(f"{key} {value}" for key, value in record["versions"].items()))
    command = f"\n\nCommand:\n\n    {visible(record['command'])}" if record["command"] else ""
    tasks, sizes = record["tasks"], record["bytes"]
    lines = [
        f"| {what} | {sizes[key]:,.0f} | {sizes[key] / tasks:,.0f} |" for key, what in BYTES.items() if sizes.get(key)
    ]
    table = "\n".join(["| What | Bytes | Bytes a task |", "| --- | --- | --- |", *lines])
    heading = f"## {in_markdown(name)}\n\nConfig: {config}{command}\n\nVersions: {versions}"
    return f"{heading}\n\n{table}\n\n{_images(pictures, out)}"


def _images(pictures: Sequence[Path], out: Path) -> str:
    return "\n\n".join(f"![{CAPTIONS[path.stem]}]({_link(path.relative_to(out))})" for path in pictures)


def _link(path: Path) -> str:
    # In angle brackets a link may hold spaces; what would end it, or be an escape, is written as in an address.
    return "<" + "".join(c if c.isprintable() and c not in "<>\\%&" else quote(c) for c in path.as_posix()) + ">"
