"""Pictures of one record: what was forgotten, what was recognised, and what it costs to store."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from supermasks.report.extra import MaxNLocator
from supermasks.report.style import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    RED,
    SERIES,
    decimals,
    new_figure,
    percents,
    plain_axes,
    save,
    si_bytes,
)
from supermasks.report.summary import Record, describe_evaluation, published_for

MOST_NUMBERS = 12  # more tasks than this, and the numbers in the cells could not be read
FLOAT32_BITS = 32


def plot_record(record: Record, folder: Path) -> list[Path]:
    """Draw the pictures of one run.

    Args:
        record: as `read_record` returns it.
        folder: where to; made if it is not there.

    Returns:
        the files: `accuracy.png`, `forgetting.png`, `bytes.png`.
    """
    return [
        _plot_accuracy(record, folder / "accuracy.png"),
        _plot_forgetting(record, folder / "forgetting.png"),
        _plot_bytes(record, folder / "bytes.png"),
    ]


def _plot_forgetting(record: Record, path: Path) -> Path:
    """Draw the accuracy of each task after each further task: with masks, and without where that was run."""
    tasks, accuracy = record["tasks"], record["accuracy"]
    sequential = record["baselines"].get("sequential")
    panels = [("Supermasks, the task being given", percents(accuracy["matrix"]))]
    title = f"{tasks} {'task' if tasks == 1 else 'tasks'}: {decimals(100 * accuracy['task_given'])}% kept"
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
