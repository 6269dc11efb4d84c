"""A picture of what each further task costs."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from supermasks.report.extra import MaxNLocator
from supermasks.report.settings import Record
from supermasks.report.style import BLUE, MANY_TASKS, ORANGE, RED, decimals, new_figure, plain_axes, save, si_bytes

LEAST_TASKS = 3  # fewer make no curve
ROOM = 1.08  # above the highest value


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
    seconds, sizes = np.array(growth["seconds"]), np.array(growth["bytes"])
    tasks = np.arange(1, len(seconds) + 1)
    figure = new_figure(11.0, 4.6)
    left, right = (plain_axes(axes) for axes in figure.subplots(1, 2))
    many = len(tasks) > MANY_TASKS
    look = {"linestyle": "none" if many else "-", "marker": ".", "markersize": 2 if many else 6}
    left.plot(tasks, seconds, color=BLUE, label="a task", **look)
    line, words = fitted_line(tasks, seconds)
    left.plot(tasks, line, color="black", linewidth=1.5, linestyle="--", label=f"least-squares line: {words}")
    left.set_ylabel("seconds to learn the task")
    figure.legend(loc="outside lower left", ncols=2, frameon=False, fontsize=9)
    right.plot(tasks, sizes / 1e3, color=RED, **look)
    right.set_ylabel("kB in the bank for the task", color=RED)
    right.set_title(f"{si_bytes(sizes[0])} for the first task, {si_bytes(sizes[-1])} for the last", fontsize=11)
    left.set_title(f"{decimals(float(np.median(seconds)), 2)} seconds a task in the median", fontsize=11)
    for axes, highest in ((left, max(seconds.max(), line.max())), (right, sizes.max() / 1e3)):
        axes.set_ylim(min(0.0, float(line.min())) if axes is left else 0.0, ROOM * highest or 1.0)
        axes.set_xlim(1 - 0.03 * len(tasks), 1.03 * len(tasks))
        axes.set_xlabel("task, in the order of learning")
        axes.set_xticks(_ticks(len(tasks)))
    _draw_overlap(right, tasks, record)
    figure.suptitle(f"{record['tasks']:,} tasks: what each costs", fontsize=13, fontweight="bold")
    return [save(figure, folder / "growth.png")]


def fitted_line(tasks: npt.NDArray[Any], seconds: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], str]:
    """Return the least-squares line of the seconds at each task, and how it changes from the first to the last.

    Example:
        >>> fitted_line(np.array([1, 2, 3]), np.array([2.0, 2.5, 3.0]))
        (array([2. , 2.5, 3. ]), '2.00 s for the first task, 3.00 s for the last (+50.0%)')
    """
    slope, constant = np.polyfit(tasks, seconds, 1)
    line = slope * tasks + constant
    first, last = float(line[0]), float(line[-1])
    change = f" ({100 * (last / first - 1):+.1f}%)" if first > 0 else ""
    return line, f"{decimals(first, 2)} s for the first task, {decimals(last, 2)} s for the last{change}"


def _ticks(count: int) -> list[int]:
    """Return where the axis of tasks has numbers: at round ones, and not at a task 0, which is not there."""
    found = MaxNLocator(integer=True, nbins=10, min_n_ticks=1).tick_values(1, count)
    return [int(tick) for tick in found if 1 <= tick <= count]


def _draw_overlap(right: Any, tasks: npt.NDArray[Any], record: Record) -> None:
    overlap = record.get("overlap", {}).get("sparse", [])
    if any(overlap):
        beside: Any = right.twinx()
        beside.plot(tasks, 100 * np.array(overlap), color=ORANGE, linestyle=":")
        beside.set_ylabel("weights of the mask that earlier tasks use, %", color=ORANGE)
        beside.set_ylim(0, 100 * ROOM)
        beside.set_yticks(range(0, 101, 20))
        beside.spines["top"].set_visible(False)
