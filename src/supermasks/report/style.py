"""What the pictures have in common: colours, fonts, how they are saved; pyplot and its global state are not used."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from supermasks.report.extra import Axes, Figure

DPI = 150
LEAST_SPAN = 2.0  # points; a narrower axis would make noise look like a finding
MANY_TASKS = 200  # more are points that overlap: small ones, without lines between them
# Okabe and Ito's colours, which stay apart for colour-blind eyes and in grey.
BLUE, ORANGE, GREEN, RED, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#666666"
PINK, SKY = "#CC79A7", "#56B4E9"
COLOURS = {
    "blue": BLUE,
    "orange": ORANGE,
    "green": GREEN,
    "red": RED,
    "grey": GREY,
    "pink": PINK,
    "sky": SKY,
    "black": "black",
}
SERIES = ((BLUE, "o"), (RED, "s"), (GREEN, "^"), (ORANGE, "D"))


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of a size in inches, laid out so that nothing overlaps."""
    return Figure(figsize=(width, height), dpi=DPI, layout="constrained")


def plain_axes(axes: Axes) -> Any:
    """Take away the frame's right and top, and return the axes as untyped: matplotlib's stubs are partial."""
    axes.spines[["right", "top"]].set_visible(False)
    return axes


def save(figure: Figure, path: Path) -> Path:
    """Write a figure as PNG, the same bytes for the same figure, and return the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="png", metadata={"Software": None})
    return path


def scale_percents(axes: Any) -> None:
    """Widen an axis of percentages to the least span; there is a little room above 100%, but no number."""
    low, high = axes.get_ylim()
    missing = max(0.0, LEAST_SPAN - (high - low)) / 2
    low, high = low - missing, high + missing
    axes.set_ylim(low, min(high, 100 + 0.05 * (100 - low)) if low < 100 else high)
    axes.set_yticks([tick for tick in axes.get_yticks() if low <= tick <= min(high, 100 + 1e-9)])


def percents(matrix: list[list[float | None]]) -> npt.NDArray[np.float64]:
    """Return a matrix of fractions in percent, NaN where it has None."""
    return np.array([[np.nan if entry is None else 100 * entry for entry in row] for row in matrix], dtype=np.float64)


def si_bytes(count: float) -> str:
    """Return a number of bytes in words.

    Example:
        >>> si_bytes(950), si_bytes(344_000), si_bytes(11_008_000)
        ('950 B', '344.0 kB', '11.0 MB')
    """
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count:.0f} B"


def decimals(value: float, digits: int = 1) -> str:
    """Return a rounded number that is never "-0.0".

    Example:
        >>> decimals(-0.01), decimals(92.68)
        ('0.0', '92.7')
    """
    return f"{round(value, digits) + 0.0:.{digits}f}"
