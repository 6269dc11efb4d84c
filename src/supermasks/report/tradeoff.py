"""Accuracy against bytes: what each way of keeping tasks apart gains for what it takes to store."""

from collections.abc import Iterable
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from supermasks.experiments.masked import HEEDED, MASKED
from supermasks.report.settings import Record, completed, key_of
from supermasks.report.style import BLUE, GREEN, GREY, ORANGE, PINK, RED, SKY, new_figure, plain_axes, save, si_bytes
from supermasks.report.words import in_picture

LOOKS = {  # method and what scores begin with -> what it is called, colour, marker
    ("supsup", "none"): ("SupSup", BLUE, "o"),
    ("supsup", "masks"): ("SupSup, Transfer of masks", GREEN, "^"),
    ("supsup", "scores"): ("SupSup, Transfer of scores", ORANGE, "D"),
    ("supsup", "kkt"): ("SupSup, KKT", SKY, "o"),
    ("ssnet", "none"): ("SSNeT", PINK, "v"),
    ("ssnet", "kkt"): ("SSNeT, KKT", PINK, "<"),
    ("exssnet", "none"): ("ExSSNeT", GREEN, "s"),
    ("exssnet", "kkt"): ("ExSSNeT, KKT", ORANGE, "P"),
    ("individual", "none"): ("individually trained", RED, "s"),
    ("individual-warm", "none"): ("individually trained, warm", RED, "P"),
    ("sequential", "none"): ("one network trained on and on", RED, "x"),
    ("separate-heads", "none"): ("separate heads", GREY, "v"),
    ("separate-heads-random", "none"): ("separate heads, random trunk", GREY, "X"),
}
OTHER = ("", "black", "*")
SIZES = ("budget", "density")  # of a mask: what differs along a line
# What differs between ways, or is heeded by some only: runs can be held against each other whatever it is.
FREE = {"method", "seed", *SIZES, *HEEDED}
FURTHER = [name for name in HEEDED if name not in ("transfer", *SIZES)]  # how weights are trained, and the like
WIDEST = 90  # characters of a line of the title and the legend
STYLES = ("-", "--", ":", "-.")  # of ways that look alike otherwise


class Way(NamedTuple):
    """What a line stands for.

    Attributes:
        method: its name on the command line.
        transfer: what scores begin with.
        equal: whether all layers keep the same fraction of their weights; otherwise they share them by neurons.
        further: the other settings in which it may differ from others, in words.
    """

    method: str
    transfer: str
    equal: bool
    further: tuple[str, ...]


class Point(NamedTuple):
    """What the runs of one way and one size of masks come to, averaged over seeds.

    Attributes:
        bytes: a task, of the bank and the trunk on disk.
        accuracy: in percent, the task being given.
        size: of the masks: "4%" of each layer, "ER 16"; empty where scores have a threshold, or there are no masks.
    """

    bytes: float
    accuracy: float
    size: str


def plot_tradeoff(records: Iterable[Record], folder: Path) -> list[Path]:
    """Draw accuracy against bytes a task for the runs of one experiment that differ in method or size of the masks.

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
    order = {look: number for number, look in enumerate(LOOKS)}
    alike = dict[tuple[str, str, bool], int]()
    for way in sorted(lines, key=lambda way: (order.get(way[:2], len(order)), way.equal, way)):
        _, colour, marker = LOOKS.get((way.method, way.transfer), OTHER)
        count, accuracy, sizes = zip(*lines[way], strict=True)
        number = alike[way[:3]] = alike.get(way[:3], -1) + 1
        look = {"linestyle": STYLES[number % len(STYLES)], "markersize": 6 + 3 * number}
        fill = {"markerfacecolor": "none"} if way.equal else {}
        axes.plot(count, accuracy, marker=marker, color=colour, label=_label(way, list(lines)), **look, **fill)
        for x, y, size in zip(count, accuracy, sizes, strict=True):
            place = (0, 6 + 2 * number)
            axes.annotate(size, (x, y), place, textcoords="offset points", ha="center", fontsize=7, color=colour)
    axes.xaxis.set_major_formatter(_in_words)
    axes.set_xlabel("bytes a task on disk")
    axes.set_ylabel("accuracy, the task being given, %")
    axes.grid(alpha=0.3)
    columns = 1 if any(len(_label(way, list(lines))) > WIDEST / 2 for way in lines) else 2
    figure.legend(loc="outside lower center", ncols=columns, frameon=False, fontsize=9)
    first = runs[0]
    title = f"{first['experiment']} ({first['config']['dataset']}), {first['tasks']:,} tasks: accuracy against bytes"
    figure.suptitle(in_picture(title, WIDEST - 25), fontsize=13, fontweight="bold")
    return [save(figure, folder / "tradeoff.png")]


def comparable(records: Iterable[Record]) -> list[Record]:
    """Return the most runs that agree in all but seed, method, size of masks, and settings that only some heed."""
    groups: dict[str, list[Record]] = {}
    for record in map(completed, records):
        config = record["config"]
        if "method" in config and "density" in config:
            rest = {key: value for key, value in config.items() if key not in FREE}
            about = [record["experiment"], record["scenario"], record["tasks"], rest]
            groups.setdefault(key_of(about), []).append(record)
    return max(groups.values(), key=len, default=[])


def tradeoff_lines(records: Iterable[Record]) -> dict[Way, list[Point]]:
    """Return the points of each way, in the order of their bytes.

    They are means over the seeds that all of them have, since seeds have different classes; over all seeds if there
    is none.
    """
    runs: dict[Way, dict[str, dict[int, Record]]] = {}
    for record in records:
        config = record["config"]
        masked = config["method"] in MASKED
        equal = masked and config["density"] is not None
        shared = masked and not equal and "budget" in config
        size = f"{100 * config['density']:.10g}%" if equal else f"ER {config['budget']}" if shared else ""
        further = tuple(f"{name} {config[name]}" for name in FURTHER if name in config)
        way = Way(config["method"], config["transfer"] if masked else "none", equal, further)
        # Of runs of the same settings and seed the first counts.
        runs.setdefault(way, {}).setdefault(size, {}).setdefault(record["seed"], record)
    seeds = [set(group) for sizes in runs.values() for group in sizes.values()]
    common = set.intersection(*seeds) or set.union(*seeds) if seeds else set()
    return {
        way: sorted(_mean([group[seed] for seed in sorted(common & set(group))], size) for size, group in sizes.items())
        for way, sizes in runs.items()
    }


def _mean(runs: list[Record], size: str) -> Point:
    disk = fmean((run["bytes"]["total"] + run["bytes"].get("trunk", 0)) / run["tasks"] for run in runs)
    return Point(disk, 100 * fmean(run["accuracy"]["mean"] for run in runs), size)


def _label(way: Way, ways: list[Way]) -> str:
    """Return what a way is called among others; where only further settings tell it from another, these are said."""
    name, _, _ = LOOKS.get((way.method, way.transfer), (f"{way.method}, {way.transfer}", *OTHER[1:]))
    sharing = ", same fraction of each layer" if way.equal else ""
    alike = [other.further for other in ways if other[:3] == way[:3]]
    said = [words for words in way.further if any(words not in other for other in alike)]
    return in_picture(name + sharing + (f" ({', '.join(said)})" if said else ""), WIDEST)


def _in_words(value: float, position: int | None = None) -> str:
    del position  # matplotlib hands it over
    return si_bytes(value)
