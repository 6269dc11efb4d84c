"""The frontier: what masks and what their rivals gain over heads alone, for the bytes that each task takes."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, Literal

from supermasks.errors import ConfigError
from supermasks.experiments.expression import brief
from supermasks.experiments.running.record import write_json
from supermasks.experiments.ways import Way
from supermasks.experiments.ways.supsup import MaskWay
from supermasks.report.settings import Record
from supermasks.report.style import BLUE, GREY, ORANGE, decimals, new_figure, plain_axes, save
from supermasks.report.tradeoff import comparable, in_bytes, moved
from supermasks.report.words import in_markdown, in_picture
from supermasks.report.write import read_runs
from supermasks.spec import build

HEADS = "heads"
"""The way that trains nothing but a head for each task: what all others are compared with."""

Family = Literal["masks", "rivals"]
LOOKS: dict[Family, tuple[str, str]] = {"masks": (BLUE, "o"), "rivals": (ORANGE, "s")}
COLUMNS = ("Way", "Family", "Accuracy, %", "Gain over heads, points", "Bytes a task", "Seconds", "Seeds", "Frontier")
EXPLAINED = (
    "Accuracy: mean over tasks and seeds, on test examples, ± sample standard deviation over seeds. "
    "Gain: over heads alone, with the same seeds. Bytes: what a task takes beside its head, names and file headers "
    "included, and its part of weights that all tasks share and of stored examples. "
    "Seconds: training of all tasks, one seed, without the search. "
    "Frontier: better than heads alone, and no way of the same family has at least this accuracy in fewer bytes."
)


@dataclass(frozen=True)
class FrontierRow:
    """One way, averaged over its seeds.

    Attributes:
        way: as one types it, with its settings.
        family: "masks" or "rivals"; None for the heads alone.
        accuracy: mean over tasks and seeds, from 0 to 1.
        spread: sample standard deviation over seeds; None for one seed.
        gain: in accuracy, over heads with the same seeds.
        bytes: a task, beside its head.
        seconds: of training, all tasks of one seed.
        seeds: how many are finished.
        best: whether it is better than heads alone, and no way of the family has at least this accuracy in fewer bytes.
    """

    way: str
    family: Family | None
    accuracy: float
    spread: float | None
    gain: float
    bytes: float
    seconds: float
    seeds: int
    best: bool = False


def frontier(records: Iterable[Record]) -> list[FrontierRow]:
    """Return a row for each way, by bytes; none unless heads alone are among the runs.

    Args:
        records: as `read_record` or `read_runs` returns them. The most runs that agree in tasks, network and training
            count. A run counts if the run of the heads with its seed is there.
    """
    runs: dict[tuple[str, tuple[str, ...]], dict[int, Record]] = {}
    for record in comparable(records):
        if "growth" in record:
            runs.setdefault((_name(record), moved(record)), {}).setdefault(record["seed"], record)
    heads = max((seeds for (way, _), seeds in runs.items() if way == HEADS), key=len, default={})
    rows = [
        _row(_called(way, words, runs), seeds, heads)
        for (way, words), seeds in runs.items()
        if seeds.keys() & heads.keys() and (way != HEADS or seeds is heads)
    ]
    rows.sort(key=lambda row: (row.bytes, -row.accuracy))
    return [_judged(row, rows[:number]) for number, row in enumerate(rows)]


def write_frontier(folders: Sequence[Path], out: Path) -> list[Path]:
    """Write the table and the picture of the frontier, and return the files.

    Nothing is written unless heads alone and another way are among the runs.

    Args:
        folders: each is the folder of a run, or has such folders somewhere in it.
        out: folder for `frontier.md`, `frontier.json` and `frontier.png`.

    Raises:
        RunStateError: a folder holds no record, or one that cannot be read.
    """
    rows = frontier(read_runs(folders).values())
    if len(rows) < 2:
        return []
    out.mkdir(parents=True, exist_ok=True)
    (out / "frontier.md").write_text(_markdown(rows), encoding="utf-8")
    write_json(out / "frontier.json", [asdict(row) for row in rows])
    return [out / "frontier.md", out / "frontier.json", _draw(rows, out / "frontier.png")]


def _name(record: Record) -> str:
    """Return a way as one types it: "masks(Drop(share=0.01))"."""
    described = record["config"]["way"]
    return record["way"] + brief(described).removeprefix(described["type"])


def _called(way: str, words: tuple[str, ...], runs: Iterable[tuple[str, tuple[str, ...]]]) -> str:
    """Return what a way is called; how weights are moved is said where only that tells two apart."""
    return way if way == HEADS or sum(other == way for other, _ in runs) < 2 else f"{way} ({', '.join(words)})"


def _family(record: Record) -> Family | None:
    if record["way"] == HEADS:
        return None
    try:
        way = build(record["config"]["way"], Way)
    except ConfigError:  # of another version
        return "rivals"
    return "masks" if isinstance(way, MaskWay) else "rivals"


def _row(way: str, seeds: dict[int, Record], heads: dict[int, Record]) -> FrontierRow:
    pairs = [(seeds[seed], heads[seed]) for seed in sorted(seeds.keys() & heads.keys())]
    accuracies = [run["accuracy"]["mean"] for run, _ in pairs]
    return FrontierRow(
        way=way,
        family=_family(pairs[0][0]),
        accuracy=fmean(accuracies),
        spread=stdev(accuracies) if len(pairs) > 1 else None,
        gain=fmean(run["accuracy"]["mean"] - head["accuracy"]["mean"] for run, head in pairs),
        bytes=fmean(_bytes(run) - _bytes(head) for run, head in pairs),
        seconds=fmean(run["seconds"]["train"] for run, _ in pairs),
        seeds=len(pairs),
    )


def _bytes(record: Record) -> float:
    """Return the bytes of a task: its file, and its part of what the bank has for all tasks."""
    of_all = sum(record["bytes"].get(item, 0) for item in ("shared", "trunk", "examples"))
    return fmean(record["growth"]["bytes"]) + of_all / record["tasks"]


def _judged(row: FrontierRow, cheaper: Sequence[FrontierRow]) -> FrontierRow:
    rivals = [other for other in cheaper if other.family == row.family]
    best = row.family is not None and row.gain > 0 and all(other.accuracy < row.accuracy for other in rivals)
    return replace(row, best=best)


def _markdown(rows: Sequence[FrontierRow]) -> str:
    lines = [COLUMNS, ["---"] * len(COLUMNS), *map(_cells, rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + f"\n\n{EXPLAINED}\n"


def _cells(row: FrontierRow) -> list[str]:
    spread = "" if row.spread is None else f" ± {100 * row.spread:.2f}"
    return [
        in_markdown(row.way),
        row.family or "",
        f"{100 * row.accuracy:.2f}{spread}",
        decimals(100 * row.gain, 2),
        f"{row.bytes:,.0f}",
        f"{row.seconds:,.1f}",
        str(row.seeds),
        "yes" if row.best else "",
    ]


def _draw(rows: Sequence[FrontierRow], path: Path) -> Path:
    """Draw accuracy against bytes: a point for each way, and the frontier of each family as steps."""
    figure = new_figure(9.6, 6.0)
    axes = plain_axes(figure.subplots())
    axes.set_xscale("log")
    axes.margins(x=0.08, y=0.1)
    heads = next(row for row in rows if row.family is None)
    axes.axhline(100 * heads.accuracy, color=GREY, linestyle="--", linewidth=1, label="heads alone")
    points = [row for row in rows if row.family is not None and row.bytes > 0]  # the axis is logarithmic
    end = max((row.bytes for row in points), default=0.0)
    for family, (colour, marker) in LOOKS.items():
        own = [row for row in points if row.family == family]
        axes.plot([row.bytes for row in own], [100 * row.accuracy for row in own], marker, color=colour, alpha=0.6)
        best = [(row.bytes, 100 * row.accuracy) for row in own if row.best]
        if best:
            x, y = zip(*best, (end, best[-1][1]), strict=True)
            axes.plot(x, y, color=colour, drawstyle="steps-post", label=f"frontier of the {family}")
        for row in own:
            _annotate(axes, row, colour)
    axes.xaxis.set_major_formatter(in_bytes)
    axes.set_xlabel("bytes a task, beside its head")
    axes.set_ylabel("accuracy, mean over tasks, %")
    axes.grid(alpha=0.3)
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    return save(figure, path)


def _annotate(axes: Any, row: FrontierRow, colour: str) -> None:
    place = {"textcoords": "offset points", "ha": "center", "fontsize": 6, "color": colour}
    axes.annotate(in_picture(row.way, 40), (row.bytes, 100 * row.accuracy), (0, 6), **place)
