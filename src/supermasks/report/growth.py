"""A picture of what each further task costs."""

from pathlib import Path
from typing import Any

import numpy as np

from supermasks.report.extra import MaxNLocator
from supermasks.report.style import BLUE, GREY, ORANGE, RED, decimals, new_figure, plain_axes, save, si_bytes
from supermasks.report.summary import Record

LEAST_TASKS = 3  # fewer make no curve


def plot_growth(record: Record, folder: Path) -> list[Path]:
    """Draw seconds and bytes of each task in the order of learning, and how much of its mask earlier ones use.

    Args:
        record: as `read_record` returns it.
        folder: where to; made if it is not there.

    Returns:
        `growth.png`; nothing for older records, which do not have the numbers, and for fewer than 3 tasks.
    """
    growth = record.get("growth")
    if not growth or len(growth["seconds"]) < LEAST_TASKS:
        return []
    tasks = np.arange(1, len(growth["seconds"]) + 1)
    figure = new_figure(11.0, 4.4)
    left, right = (plain_axes(axes) for axes in figure.subplots(1, 2))
    seconds, sizes = np.array(growth["seconds"]), np.array(growth["bytes"])
    change = 100 * np.polyfit(tasks, seconds, 1)[0] * (len(tasks) - 1) / float(np.median(seconds))
    left.plot(tasks, seconds, ".-", color=BLUE)
    left.axhline(float(np.median(seconds)), color=GREY, linestyle="--", linewidth=1.2, label="median")
    left.set_ylabel("seconds to learn the task")
    left.set_title(f"from first to last by {decimals(change)}% (fitted line)", fontsize=11)
    right.plot(tasks, sizes / 1e3, ".-", color=RED)
    right.set_ylabel("kB in the bank for the task", color=RED)
    right.set_title(f"{si_bytes(sizes[0])} for the first task, {si_bytes(sizes[-1])} for the last", fontsize=11)
    for axes in (left, right):
        axes.set_ylim(bottom=0)
        axes.set_xlabel("task, in the order of learning")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=12, min_n_ticks=1))
    overlap = record.get("overlap", {}).get("sparse", [])
    if any(overlap):
        beside: Any = right.twinx()
        beside.plot(tasks, 100 * np.array(overlap), color=ORANGE, linestyle=":")
        beside.set_ylabel("weights of the mask that earlier tasks use, %", color=ORANGE)
        beside.set_ylim(0, 100)
        beside.spines["top"].set_visible(False)
    left.legend(frameon=False)
    figure.suptitle(f"{record['tasks']} tasks: what each costs", fontsize=13, fontweight="bold")
    return [save(figure, folder / "growth.png")]
