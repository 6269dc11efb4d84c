"""A picture of a stream without task labels: which masks were trained when, and how they answer."""

from itertools import accumulate
from pathlib import Path

from supermasks.brief import counted
from supermasks.report.extra import MaxNLocator
from supermasks.report.settings import Record
from supermasks.report.style import BLUE, GREY, MANY_TASKS, ORANGE, RED, decimals, new_figure, plain_axes, save


def plot_stream(record: Record, folder: Path) -> list[Path]:
    """Draw the mask of each visit, and the accuracy of each task when it was learned and at the end.

    Args:
        record: as `read_record` returns it.
        folder: where to; made if it is not there.

    Returns:
        `stream.png`; nothing for runs in which the tasks were named.
    """
    stream = record.get("stream")
    if not stream:
        return []
    visits = stream["visits"]
    numbers = {name: n for n, name in enumerate(dict.fromkeys(name for line in visits for name in line["masks"]))}
    figure = new_figure(11.0, 5.2)
    left, right = (plain_axes(axes) for axes in figure.subplots(1, 2))
    points = [(line["first"], numbers[name], count) for line in visits for name, count in line["masks"].items()]
    most = max(count for _, _, count in points)
    left.scatter(
        [first for first, _, _ in points],
        [number + 1 for _, number, _ in points],
        s=[4 + 26 * count / most for _, _, count in points],
        color=BLUE,
        label="trained (large: on many batches)",
    )
    opened = [batch for line in visits for batch in line["new"]]
    left.plot(opened, list(accumulate(1 for _ in opened)), color=RED, linewidth=1, label="opened so far")
    left.set_xlabel("batch")
    left.set_ylabel("mask")
    left.set_ylim(0, len(numbers) + 1)
    left.yaxis.set_major_locator(MaxNLocator(integer=True))
    left.set_title(f"{counted(len(opened), 'mask')} for {counted(record['tasks'], 'task')}", fontsize=11)
    look = {"marker": ".", "markersize": 3 if len(visits) > MANY_TASKS else 6, "linestyle": "none"}
    tasks = range(1, record["tasks"] + 1)
    right.plot(tasks, [100 * a for a in record["accuracy"]["per_task"]], color=ORANGE, label="at the end", **look)
    learned = [100 * line["accuracy"] for line in visits[: record["tasks"]]]
    right.plot([line["index"] + 1 for line in visits[: record["tasks"]]], learned, color=GREY, label="learned", **look)
    right.set_xlabel("task, in the order of the stream")
    right.set_ylabel("accuracy, %")
    right.set_title(f"{decimals(100 * record['accuracy']['mean'], 2)}% at the end, nobody naming the task", fontsize=11)
    for axes in (left, right):
        axes.legend(frameon=False, fontsize=9)
    figure.suptitle("A stream without the names of its tasks", fontsize=13, fontweight="bold")
    return [save(figure, folder / "stream.png")]
