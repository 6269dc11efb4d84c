"""Pictures of one record: what was forgotten, what was recognised, and what it costs to store."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from supermasks.report.among import plot_among
from supermasks.report.extra import MaxNLocator, withStroke
from supermasks.report.growth import plot_growth
from supermasks.report.settings import Record
from supermasks.report.stream_picture import plot_stream
from supermasks.report.style import (
    BLUE,
    GREEN,
    GREY,
    MANY_TASKS,
    ORANGE,
    PINK,
    RED,
    SERIES,
    decimals,
    new_figure,
    percents,
    plain_axes,
    save,
    scale_percents,
    si_bytes,
)
from supermasks.report.summary import describe_evaluation, published_for
from supermasks.report.words import in_picture

MOST_NUMBERS = 12  # more tasks than this, and the numbers in the cells could not be read
FLOAT32_BITS = 32
LETTERS = 6.3  # of a legend in two columns, for each inch of the figure


def plot_record(record: Record, folder: Path) -> list[Path]:
    """Draw the pictures of one run.

    Args:
        record: as `read_record` returns it.
        folder: where to; made if it is not there.

    Returns:
        the files: `accuracy.png`, where there is a matrix of accuracies `forgetting.png`, where there are masks
        `bytes.png`, where checkpoints were evaluated `among.png`, of several tasks `growth.png`,
        where nobody named the tasks `stream.png`.
    """
    pictures = [_plot_accuracy(record, folder / "accuracy.png")]
    if record["accuracy"]["matrix"] is not None:  # of many tasks not all of it is measured
        pictures.append(_plot_forgetting(record, folder / "forgetting.png"))
    if record["bytes"].get("packed", record["bytes"]["masks"]):  # it is 0 for signed masks in older records
        pictures.append(_plot_bytes(record, folder / "bytes.png"))
    return [*pictures, *plot_among(record, folder), *plot_growth(record, folder), *plot_stream(record, folder)]


def _plot_forgetting(record: Record, path: Path) -> Path:
    """Draw the accuracy of each task after each further task: with masks, and without where that was run."""
    tasks, accuracy = record["tasks"], record["accuracy"]
    sequential = record["baselines"].get("sequential")
    ours = "Supermasks" if record["bytes"]["masks"] else "Without masks"
    panels = [(f"{ours}, the task being given", percents(accuracy["matrix"]))]
    title = f"{_count(tasks)}: {decimals(100 * accuracy['task_given'])}% right in the end"
    if sequential:
        panels.append(("One network trained on one task after the other", percents(sequential["matrix"])))
        title += f"; without masks {decimals(100 * sequential['mean'])}%, "
        title += f"forgetting {decimals(100 * sequential['forgetting'])} points"
    else:
        title += f", forgetting {decimals(100 * accuracy['forgetting'])} points"
    # One scale for both, down to the next full ten, so that the same colour is the same accuracy.
    lowest = min(95.0, float(min(np.nanmin(matrix) for _, matrix in panels)))
    limits = (10 * np.floor(lowest / 10), 100.0)
    figure = new_figure(5.6 * len(panels) + 0.8, 5.6)
    axes = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
    for one, (name, matrix) in zip(axes, panels, strict=True):
        image = _draw_matrix(one, matrix, limits)
        one.set_title(name, fontsize=11)
    axes[0].set_ylabel("after learning task")
    figure.colorbar(image, ax=list(axes), label="accuracy on test images, %", shrink=0.85)  # pyright: ignore
    figure.suptitle(title, fontsize=13, fontweight="bold")
    return save(figure, path)


def _draw_matrix(axes: Any, matrix: npt.NDArray[np.float64], limits: tuple[float, float]) -> Any:
    tasks = len(matrix)
    edges = (0.5, tasks + 0.5, tasks + 0.5, 0.5)
    image = axes.imshow(matrix, cmap="viridis", vmin=limits[0], vmax=limits[1], extent=edges, interpolation="nearest")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(integer=True, nbins=MOST_NUMBERS, min_n_ticks=1))
    axes.set_xlabel("accuracy on task")
    axes.spines[["right", "top"]].set_visible(False)
    if tasks <= MOST_NUMBERS:
        middle = sum(limits) / 2
        for i, j in zip(*np.nonzero(~np.isnan(matrix)), strict=True):
            colour = "black" if matrix[i, j] > middle else "white"
            axes.text(j + 1, i + 1, f"{matrix[i, j]:.0f}", ha="center", va="center", color=colour, fontsize=9)
    return image


def _plot_accuracy(record: Record, path: Path) -> Path:
    """Draw the final accuracy of each task, by each way of finding the task, with the paper's figures."""
    evaluations: list[Record] = record["evaluations"]
    given = 100 * np.array(_given_per_task(record), dtype=np.float64)
    tasks = np.arange(1, len(given) + 1)
    figure = new_figure(max(9.0, min(12.0, 0.35 * len(tasks) + 4)), 4.8)
    axes = plain_axes(figure.subplots())
    width, size = (0.8, 5.0) if len(tasks) <= 40 else (1.0, 2.0)
    strength = 1.0 if len(tasks) <= MANY_TASKS else 0.4  # of points that lie over each other
    edges = (tasks - width / 2, tasks + width / 2)
    letters = int(LETTERS * figure.get_figwidth())
    label = f"task given: mean {decimals(given.mean(), 2)}%"
    axes.hlines(given, *edges, color=GREY, linewidth=1.5, label=label)
    _draw_published(axes, published_for(record, None), GREY, letters)
    for index, evaluation in enumerate(evaluations):
        colour, marker = SERIES[index % len(SERIES)]
        # Side by side within the width of a task, because equal accuracies would hide each other.
        shift = width * ((index + 1) / (len(evaluations) + 1) - 0.5)
        label = f"{describe_evaluation(evaluation)}: mean {decimals(100 * evaluation['accuracy'], 2)}%"
        heights = 100 * np.array(evaluation["per_task"])
        look = {"color": colour, "markersize": size, "alpha": strength, "label": in_picture(label, letters)}
        axes.plot(tasks + shift, heights, marker, **look)
        _draw_published(axes, published_for(record, evaluation), colour, letters)
    axes.set_xlabel("task, in the order of learning")
    axes.set_ylabel("accuracy on test images, %")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=MOST_NUMBERS, min_n_ticks=1))
    axes.set_xlim(0.4, len(tasks) + 0.6)
    scale_percents(axes)
    axes.grid(axis="y", color="0.9")
    axes.set_axisbelow(True)
    figure.legend(loc="outside lower center", ncols=2 if evaluations else 1, frameon=False, fontsize=9)
    figure.suptitle(_accuracy_title(record), fontsize=13, fontweight="bold")
    return save(figure, path)


def _given_per_task(record: Record) -> list[float]:
    accuracy: Record = record["accuracy"]
    return accuracy["given_per_task"] if "given_per_task" in accuracy else accuracy["matrix"][-1]  # older records


def _draw_published(axes: Any, figure: Record | None, colour: str, letters: int) -> None:
    if figure is not None:
        height = 100 * figure["accuracy"]
        label = in_picture(f"paper, {figure['what']}: {height:.2f}%", letters)
        # With a white edge, so that it is seen among points of the same colour.
        edge = [withStroke(linewidth=3.5, foreground="white")]
        axes.axhline(height, color=colour, linestyle="--", linewidth=1.2, label=label, zorder=3, path_effects=edge)


def _accuracy_title(record: Record) -> str:
    mean = decimals(100 * record["accuracy"]["mean"], 2)
    if not record["evaluations"]:
        return f"Task given: {mean}% right"
    found = decimals(100 * record["task_identification"], 2)
    return f"Task not told: {mean}% right, task found in {found}% of decisions"


def _plot_bytes(record: Record, path: Path) -> Path:
    """Draw what the bank on disk is made of, and beside it what as many separate networks would take."""
    sizes, tasks = record["bytes"], record["tasks"]
    figure = new_figure(9.0, 4.8)
    upper, lower = figure.subplots(2, 1, height_ratios=[1.0, 1.3])
    _draw_parts(plain_axes(upper), sizes)
    dense = sizes.get("packed", sizes["masks"]) * FLOAT32_BITS  # a packed mask takes one bit a weight
    costs = [
        (f"bank of {_count(tasks)}, on disk", sizes["total"], BLUE),
        ("weights of one network, float32\n(not stored in the bank)", dense / tasks, GREY),
        (f"weights of {tasks:,} separate\nnetworks, float32" if tasks > 1 else "", dense, RED),
    ]
    _draw_costs(plain_axes(lower), [cost for cost in costs if cost[0]])
    ratio = dense / sizes["total"]
    than = f"{ratio:.1f} times smaller" if ratio >= 1 else f"{1 / ratio:.1f} times larger"
    title = f"{si_bytes(sizes['total'] / tasks)} a task: {than} than separate networks"
    figure.suptitle(title, fontsize=13, fontweight="bold")
    return save(figure, path)


def _draw_parts(axes: Any, sizes: Record) -> None:
    """Draw one bar of masks, normalisation and the rest, on a linear scale from zero."""
    left = 0.0
    unit, name = (1e6, "MB") if sizes["total"] >= 1e6 else (1e3, "kB")
    colours = {"masks": BLUE, "owned": GREY, "dense": RED, "norm": ORANGE, "router": PINK, "other": GREEN}
    for what, colour in colours.items():
        names = {
            "owned": "trained weights",
            "dense": "heads",
            "norm": "normalisation layers",
            "router": "router statistics",
            "other": "names, digests, file headers",
        }
        long = names.get(what, what)
        if not sizes.get(what):
            continue
        share = 100 * sizes[what] / sizes["total"]
        label = f"{long}: {si_bytes(sizes[what])} ({decimals(share)}%)"
        axes.barh(0, sizes[what] / unit, left=left / unit, height=0.6, color=colour, label=label)
        left += sizes[what]
    label = f"entropy bound of the masks: {si_bytes(sizes['entropy_bound'])}"
    axes.axvline(sizes["entropy_bound"] / unit, color="black", linestyle="--", linewidth=1.2, label=label)
    axes.set_yticks([0], ["what is in the bank"])
    axes.tick_params(left=False)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel(f"{name} on disk")
    axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2, frameon=False, fontsize=9)


def _draw_costs(axes: Any, costs: list[tuple[str, float, str]]) -> None:
    """Draw sizes as dots on a logarithmic scale; bars would need a zero, which that scale does not have."""
    for height, (_, count, colour) in enumerate(reversed(costs)):
        axes.axhline(height, color="0.9", zorder=0)
        axes.plot(count, height, "o", color=colour, markersize=9)
        axes.annotate(si_bytes(count), (count, height), (0, 8), textcoords="offset points", ha="center")
    axes.set_xscale("log")
    counts = [count for _, count, _ in costs]
    axes.set_xlim(min(counts) / 2, max(counts) * 2)
    axes.set_ylim(-0.5, len(costs) - 0.3)
    axes.set_yticks(range(len(costs)), [name for name, _, _ in reversed(costs)])
    axes.xaxis.set_major_formatter(_tick)
    axes.set_xlabel("bytes, logarithmic scale")


def _count(tasks: int) -> str:
    return f"{tasks:,} {'task' if tasks == 1 else 'tasks'}"


def _tick(count: float, _position: int) -> str:
    return si_bytes(count)
