"""Accuracy against bytes: what each way of keeping tasks apart gains for what it takes to store."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from supermasks.errors import ConfigError
from supermasks.experiments.expression import brief
from supermasks.experiments.ways import Way
from supermasks.report.settings import PARTS, Record, completed, key_of, settings_of
from supermasks.report.style import COLOURS, new_figure, plain_axes, save, si_bytes
from supermasks.report.words import in_picture
from supermasks.spec import build

# How weights are moved is a matter of the way: runs can be compared whatever it is.
FREE = {"optimiser": None, "weight_optimiser": None, "head_rate": 1.0, "head_first": 0.0}
"""These settings, and what is not worth a word."""
MARKERS = ("o", "s", "^", "D", "P", "v", "X", "<")  # of the lines of one colour
COUNTED = ("total", "trunk", "examples")
"""The bytes of a record that count: the memory for further tasks has no part in the total, but its examples count."""
WIDEST = 90  # characters of a line of the title and the legend


class Line(NamedTuple):
    """What a line stands for.

    Attributes:
        way: its name on the command line.
        label: what it is called, with all settings but the size of its masks.
        uniform: whether all layers keep the same fraction of their weights; otherwise they share them by neurons.
        colour: of the line.
        further: how weights are moved, in words.
        settings: of the way, but those that say how large masks are, as a key: words may be the same for others.
    """

    way: str
    label: str
    uniform: bool
    colour: str
    further: tuple[str, ...]
    settings: str


class Point(NamedTuple):
    """The runs of one way and one size of masks, averaged over seeds.

    Attributes:
        bytes: a task, of the bank, the trunk and the stored examples on disk.
        accuracy: in percent; the task is inferred where the experiment infers it, otherwise given.
        size: of the masks: "4%" of each layer, "ER(16)", "Threshold(0.02)"; empty where the rule is `Threshold()`, or
            there are no masks.
    """

    bytes: float
    accuracy: float
    size: str


def plot_tradeoff(records: Iterable[Record], folder: Path) -> list[Path]:
    """Draw accuracy against bytes a task for the runs of one experiment that differ in the way or the size of masks.

    Layers share the weights of a mask by neurons (full marks), or keep the same fraction each (hollow marks).

    Args:
        records: as `read_record` returns them.
        folder: where to; made if it is not there.

    Returns:
        the file, `tradeoff.png`; none unless there are at least two such runs of the experiment that has most.
    """
    runs = comparable(records)
    lines = tradeoff_lines(runs)
    if sum(map(len, lines.values())) < 2:
        return []
    figure = new_figure(8.4, 5.8)
    axes = plain_axes(figure.subplots())
    axes.set_xscale("log")
    axes.margins(x=0.08, y=0.1)
    drawn = dict[str, int]()
    for line in sorted(lines):
        number = drawn[line.colour] = drawn.get(line.colour, -1) + 1
        _draw(axes, line, lines[line], MARKERS[number % len(MARKERS)], in_picture(line_name(line, lines), WIDEST))
    axes.xaxis.set_major_formatter(in_bytes)
    axes.set_xlabel("bytes a task on disk, stored examples included")
    known = "inferred" if runs[0]["evaluations"] else "given"
    axes.set_ylabel(f"accuracy, the task being {known}, %")
    axes.grid(alpha=0.3)
    columns = 1 if any(len(line_name(line, lines)) > WIDEST / 2 for line in lines) else 2
    figure.legend(loc="outside lower center", ncols=columns, frameon=False, fontsize=9)
    first = runs[0]
    title = f"{first['experiment']} ({first['dataset']}), {first['tasks']:,} tasks: accuracy against bytes"
    figure.suptitle(in_picture(title, WIDEST - 25), fontsize=13, fontweight="bold")
    return [save(figure, folder / "tradeoff.png")]


def _draw(axes: Any, line: Line, points: Sequence[Point], marker: str, label: str) -> None:
    count, accuracy, sizes = zip(*points, strict=True)
    colour = COLOURS[line.colour]
    look = {"marker": marker, "color": colour, "label": label}
    fill = {"markerfacecolor": "none"} if line.uniform else {}
    axes.plot(count, accuracy, **look, **fill)
    for x, y, size in zip(count, accuracy, sizes, strict=True):
        near = {"textcoords": "offset points", "ha": "center", "fontsize": 7, "color": colour}
        axes.annotate(size, (x, y), (0, 6), **near)


def comparable(records: Iterable[Record]) -> list[Record]:
    """Return the most runs that agree in all but the seed, the way, and how weights are moved."""
    groups: dict[str, list[Record]] = {}
    for record in map(completed, records):
        config = record["config"]
        if not isinstance(config.get("way"), dict):
            continue
        rest = {name: value for name, value in config.items() if name not in ("way", "seed", *PARTS)}
        parts = {name: value for name in PARTS if name != "way" and isinstance(value := config.get(name), dict)}
        training = {name: value for name, value in parts.pop("training", {}).items() if name not in FREE}
        about = [record["experiment"], record["scenario"], record["tasks"], rest, parts, training]
        groups.setdefault(key_of(about), []).append(record)
    return max(groups.values(), key=len, default=[])


def moved(record: Record) -> tuple[str, ...]:
    """Return how weights are moved in a run, in words: its optimisers, and what is special about heads."""
    settings = settings_of(record)
    return tuple(f"{name} {brief(settings[name])}" for name, no in FREE.items() if settings.get(name, no) != no)


def tradeoff_lines(records: Iterable[Record]) -> dict[Line, list[Point]]:
    """Return the points of each line, in the order of their bytes.

    They are means over the seeds that all of them have, since seeds have different classes; over all seeds if there
    is none.
    """
    runs: dict[Line, dict[tuple[str, str], dict[int, Record]]] = {}
    for record in records:
        line, size = line_of(record)
        point = key_of(record["config"]["way"]), size
        # Of runs of the same settings and seed the first counts.
        runs.setdefault(line, {}).setdefault(point, {}).setdefault(record["seed"], record)
    common = common_seeds(group for points in runs.values() for group in points.values())
    return {
        line: sorted(
            _mean([group[seed] for seed in sorted(common & set(group))], size) for (_, size), group in points.items()
        )
        for line, points in runs.items()
    }


def common_seeds(groups: Iterable[Iterable[int]]) -> set[int]:
    """Return the seeds that all groups of runs have, since seeds have different classes; all seeds if there is none."""
    seeds = [set(group) for group in groups]
    return set.intersection(*seeds) or set.union(*seeds) if seeds else set()


def line_of(record: Record) -> tuple[Line, str]:
    """Return the line of a record, and the size of its masks; a way that this version does not know has no size."""
    described, further = record["config"]["way"], moved(record)
    try:
        way = build(described, Way)
    except ConfigError:
        name = str(record.get("way", described.get("type")))
        return Line(name, f"{name}: {brief(described)}", False, "black", further, key_of(described)), ""
    settings = {name: value for name, value in described.items() if name not in way.sized_by}
    return Line(way.name, way.line, way.uniform, way.colour, further, key_of(settings)), way.size


def _mean(runs: list[Record], size: str) -> Point:
    disk = fmean(sum(run["bytes"].get(what, 0) for what in COUNTED) / run["tasks"] for run in runs)
    return Point(disk, 100 * fmean(run["accuracy"]["mean"] for run in runs), size)


def line_name(line: Line, lines: Iterable[Line]) -> str:
    """Return what a line is called among others, with how layers share the weights of a mask."""
    sharing = ", same fraction of each layer" if line.uniform else ""
    return line.label + sharing + movement(line, lines)


def movement(line: Line, lines: Iterable[Line]) -> str:
    """Return how weights are moved, in brackets, where only that tells a line from others; otherwise nothing."""
    alike = [other.further for other in lines if other[:4] == line[:4]]
    said = [words for words in line.further if any(words not in other for other in alike)]
    return f" ({', '.join(said)})" if said else ""


def in_bytes(value: float, position: int | None = None) -> str:
    """Return a number on an axis of bytes in words."""
    del position  # matplotlib hands it over
    return si_bytes(value)
