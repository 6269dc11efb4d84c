"""A picture of what more and more tasks to choose among cost."""

from pathlib import Path

from supermasks.report.settings import Record
from supermasks.report.style import GREY, SERIES, new_figure, percents, plain_axes, save, scale_percents
from supermasks.report.summary import describe_evaluation, published_for
from supermasks.report.words import in_picture

WIDEST = 60  # characters of a line in the legend


def plot_among(record: Record, folder: Path) -> list[Path]:
    """Draw accuracy, and how often the task is found, against how many tasks there are to choose among.

    Args:
        record: as `read_record` returns it.
        folder: where to; made if it is not there.

    Returns:
        `among.png`; nothing for records in which only the end was measured.
    """
    evaluations = [found for found in record["evaluations"] if len(found.get("among", [])) > 1]
    if not evaluations:
        return []
    figure = new_figure(11.0, 4.8)
    left, right = (plain_axes(axes) for axes in figure.subplots(1, 2))
    checkpoints = [row["tasks"] for row in evaluations[0]["among"]]
    given = [record["accuracy"]["so_far"][count - 1] for count in checkpoints]
    left.plot(checkpoints, percents([given])[0], "-", color=GREY, linewidth=1.5, label="task given")
    for index, found in enumerate(evaluations):
        colour, marker = SERIES[index % len(SERIES)]
        counts = [row["tasks"] for row in found["among"]]
        for axes, what in ((left, "accuracy"), (right, "task_identification")):
            heights = [100 * row[what] for row in found["among"]]
            label = in_picture(describe_evaluation(found), WIDEST) if axes is left else None
            axes.plot(counts, heights, f"{marker}-", color=colour, markersize=4, label=label)
        if (published := published_for(record, found)) is not None:
            words = f"paper, {published['what']}: {100 * published['accuracy']:.2f}%"
            star = {"color": colour, "markersize": 11, "label": in_picture(words, WIDEST)}
            left.plot([record["tasks"]], [100 * published["accuracy"]], "*", **star)
    left.set_ylabel("accuracy on test images, %")
    right.set_ylabel("task found, % of decisions")
    for axes in (left, right):
        axes.set_xlabel("tasks to choose among")
        axes.grid(axis="y", color="0.9")
        axes.set_axisbelow(True)
        scale_percents(axes)
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    figure.suptitle(f"Recognising one among up to {record['tasks']:,} tasks", fontsize=13, fontweight="bold")
    return [save(figure, folder / "among.png")]
