"""Accuracy on all tasks so far, while tasks are learned: how much each way forgets (ExSSNeT, Figure 6)."""

from collections.abc import Iterable
from pathlib import Path
from statistics import fmean

from supermasks.report.settings import Record
from supermasks.report.style import COLOURS, new_figure, plain_axes, save, scale_percents
from supermasks.report.tradeoff import MARKERS, Line, common_seeds, comparable, line_of, movement
from supermasks.report.words import in_picture

MOST = 16
"""With more lines, none could be followed."""
LONGEST = 60  # characters of a name in the legend


def plot_so_far(records: Iterable[Record], folder: Path) -> list[Path]:
    """Draw the mean accuracy on the tasks so far after each task, for runs of one experiment that differ in the way.

    The task is given. Lines are means over the seeds that all ways have, since seeds have different classes; over all
    seeds of a way if there is none.

    Args:
        records: as `read_record` returns them.
        folder: where to; made if it is not there.

    Returns:
        the file, `so_far.png`; none unless 2 to 16 ways learned the same tasks, more than one.
    """
    runs = [record for record in comparable(records) if _curve(record)]
    groups: dict[tuple[Line, str], dict[int, Record]] = {}
    for record in runs:
        # Of runs of the same settings and seed the first counts.
        groups.setdefault(line_of(record), {}).setdefault(record["seed"], record)
    if not 2 <= len(groups) <= MOST:
        return []
    common, lines = common_seeds(groups.values()), [line for line, _ in groups]
    means = {of: _means([group[seed] for seed in group if seed in common]) for of, group in groups.items()}
    figure = new_figure(8.4, 5.4)
    axes = plain_axes(figure.subplots())
    drawn = dict[str, int]()
    for (line, size), curve in sorted(means.items(), key=lambda item: -item[1][-1]):
        label = f"{line.label} {size}".strip() + movement(line, lines)
        number = drawn[line.colour] = drawn.get(line.colour, -1) + 1
        look = {"marker": MARKERS[number % len(MARKERS)], "color": COLOURS[line.colour], "markersize": 4}
        axes.plot(range(1, len(curve) + 1), curve, label=in_picture(label, LONGEST), **look)
    first = runs[0]
    axes.set_xticks(range(1, first["tasks"] + 1) if first["tasks"] <= 20 else axes.get_xticks())
    axes.set_xlabel("tasks learned")
    axes.set_ylabel("mean accuracy on the tasks so far, the task being given, %")
    axes.grid(alpha=0.3)
    scale_percents(axes)
    figure.legend(loc="outside right center", frameon=False, fontsize=9)
    title = f"{first['experiment']} ({first['dataset']}): what is left of earlier tasks"
    figure.suptitle(in_picture(title, LONGEST + 10), fontsize=13, fontweight="bold")
    return [save(figure, folder / "so_far.png")]


def _curve(record: Record) -> list[float]:
    """Return the accuracies on the tasks so far; nothing if there is one task, or one was not measured."""
    found = record["accuracy"].get("so_far") or []
    return [] if len(found) < 2 or None in found else found


def _means(group: list[Record]) -> list[float]:
    """Return the means over seeds, in percent."""
    each = zip(*map(_curve, group), strict=True)
    return [100 * fmean(values) for values in each]
