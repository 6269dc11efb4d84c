"""One picture of many runs: the accuracy of every row, with its spread over seeds and the paper's figure."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from supermasks.report.settings import Record
from supermasks.report.style import BLUE, RED, decimals, new_figure, plain_axes, save
from supermasks.report.summary import Row, summarise
from supermasks.report.words import in_picture

KINDS = ("supermasks", "without masks", "paper")
WIDEST = 64  # characters of a line that says what a row is
LINE = 0.16  # inches


def plot_runs(records: Iterable[Record], folder: Path) -> list[Path]:
    """Draw the accuracy of all rows that the records sum up to.

    The axis does not begin at zero, so accuracies are dots rather than bars, whose lengths would mislead.

    Args:
        records: as `read_record` returns them.
        folder: where to; made if it is not there.

    Returns:
        the file, `comparison.png`; none if there are no records.
    """
    rows = summarise(records)
    if not rows:
        return []
    labels = [_label(row) for row in reversed(rows)]
    most = max(label.count("\n") + 1 for label in labels)
    figure = new_figure(11.0, 1.9 + (0.24 + LINE * most) * len(rows))
    axes = plain_axes(figure.subplots())
    for height, row in enumerate(reversed(rows)):
        _draw_row(axes, height, row)
    axes.set_yticks(range(len(rows)), labels, fontsize=9)
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.set_xlim(*_limits(rows))
    axes.set_xlabel("accuracy on the test images of all tasks, %")
    handles, kinds = axes.get_legend_handles_labels()
    marks = dict(zip(kinds, handles, strict=True))  # one entry for each kind of mark, not for each row
    kinds = [kind for kind in KINDS if kind in marks]
    figure.legend(
        [marks[kind] for kind in kinds], kinds, loc="outside lower center", ncols=3, frameon=False, fontsize=9
    )
    figure.suptitle(_title(rows), fontsize=13, fontweight="bold")
    return [save(figure, folder / "comparison.png")]


def _draw_row(axes: Any, height: int, row: Row) -> None:
    colour, marker, label = (BLUE, "o", KINDS[0]) if row.masks else (RED, "s", KINDS[1])
    axes.axhline(height, color="0.9", zorder=0)
    # The paper's figure is hollow and larger: it stays visible where ours falls on it.
    if row.published is not None:
        paper = {"color": "black", "markerfacecolor": "none", "markersize": 11, "linestyle": "none"}
        axes.plot(row.published, height, "D", label=KINDS[2], **paper)
    axes.errorbar(row.accuracy, height, xerr=row.std, fmt=marker, color=colour, markersize=6, capsize=3, label=label)
    text = f"{row.accuracy:.2f}" + ("" if row.std is None else f" ± {row.std:.2f}")
    text += "" if row.published is None else f" (paper {row.published:.2f})"
    axes.text(1.02, height, text, transform=axes.get_yaxis_transform(), va="center", fontsize=9)


def _label(row: Row) -> str:
    """Return what a row is, with all that tells it from others."""
    outputs = "" if row.outputs is None else f", {row.outputs:,} outputs"
    what = f"{row.experiment} ({row.scenario}; {row.dataset}), {_count(row)}, {row.net}{outputs}"
    return "\n".join(in_picture(line, WIDEST) for line in (what, row.training, row.how))


def _count(row: Row) -> str:
    return f"{row.tasks:,} {'task' if row.tasks == 1 else 'tasks'}"


def _limits(rows: Sequence[Row]) -> tuple[float, float]:
    """Return the range of the axis: what there is, a margin, and nothing much above 100%."""
    lows = [min(row.accuracy - (row.std or 0.0), row.published or 100.0) for row in rows]
    highs = [max(row.accuracy + (row.std or 0.0), row.published or 0.0) for row in rows]
    margin = max(0.08 * (max(highs) - min(lows)), 1.0)
    return min(lows) - margin, min(max(highs) + margin, 100.5)


def _title(rows: Sequence[Row]) -> str:
    runs = {(row.experiment, row.dataset, row.net, row.outputs, row.tasks, row.training) for row in rows}
    if len(runs) > 1 or not rows[0].masks:
        return "Accuracy after all tasks are learned"
    without = "".join(f"; {decimals(row.accuracy)}% without masks" for row in rows if not row.masks)
    return f"{_count(rows[0])}: {decimals(rows[0].accuracy)}% with supermasks{without}"
