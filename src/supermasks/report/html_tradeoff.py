"""Accuracy against bytes in the HTML report: a picture, and a table of its points."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from supermasks.report.html_parts import (
    BOTTOM,
    COLOURS,
    HEIGHT,
    LEAST_SPAN,
    LEFT,
    TOP,
    WIDTH,
    escaped,
    figure,
    key,
    polyline,
    table,
)
from supermasks.report.settings import Record
from supermasks.report.style import decimals, si_bytes
from supermasks.report.tradeoff import Line, Point, comparable, line_name, tradeoff_lines

TITLE = "Accuracy against bytes"
EXPLAINED = (
    "Bytes a task: those of the bank, divided by the number of tasks. Stored examples and a shared trunk count. "
    "Accuracy: mean over all tasks, and over the seeds that all of these ways have (over all seeds if there is "
    "none). These runs have the same tasks, network and length of training."
)


class _Scale(NamedTuple):
    """Where numbers lie in the drawing: bytes on a logarithmic axis, accuracies on a linear one."""

    least: float
    most: float
    low: float
    high: float

    @classmethod
    def of(cls, points: Sequence[Point]) -> "_Scale":
        bytes_, accuracies = [point.bytes for point in points], [point.accuracy for point in points]
        low, high = min(accuracies), max(accuracies)
        return cls(min(bytes_) / 1.5, 1.5 * max(bytes_), min(low, high - LEAST_SPAN), high)

    def x(self, count: float) -> float:
        return LEFT + (WIDTH - LEFT - 10) * math.log(count / self.least) / math.log(self.most / self.least)

    def y(self, accuracy: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (accuracy - self.low) / (self.high - self.low)

    def axes(self) -> list[str]:
        """Return lines at five accuracies, and numbers at up to four round counts of bytes."""
        drawn = list[str]()
        for step in range(5):
            accuracy = self.low + (self.high - self.low) * step / 4
            y = self.y(accuracy)
            drawn.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - 10}" y1="{y:.1f}" y2="{y:.1f}"/>')
            drawn.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{accuracy:.1f}</text>')
        for count in self.round():
            x = self.x(count)
            drawn.append(f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>')
            drawn.append(f'<text x="{x:.1f}" y="{HEIGHT - 17}" text-anchor="middle">{escaped(si_bytes(count))}</text>')
        below = "bytes a task, logarithmic"
        return [*drawn, f'<text x="{WIDTH / 2}" y="{HEIGHT - 4}" text-anchor="middle">{below}</text>']

    def round(self) -> list[float]:
        """Return powers of 10 in the range, at most four; the ends of the range if there are fewer than two."""
        first, last = math.ceil(math.log10(self.least)), math.floor(math.log10(self.most))
        powers = [10.0**power for power in range(first, last + 1)]
        return powers[:: -(-len(powers) // 4)] if len(powers) > 1 else [self.least * 1.5, self.most / 1.5]


def tradeoff(records: Sequence[Record]) -> str:
    """Return a section with a picture and a table; nothing unless two runs differ only in the way or its masks.

    Args:
        records: as `read_runs` returns them.
    """
    runs = comparable(records)
    lines = dict(sorted(tradeoff_lines(runs).items()))
    if sum(map(len, lines.values())) < 2 or any(point.bytes <= 0 for points in lines.values() for point in points):
        return ""
    first = runs[0]
    title = f"{first['experiment']} ({first['dataset']}), {first['tasks']:,} tasks: accuracy, %"
    return f"<h2>{TITLE}</h2>\n{_picture(title, lines)}{_table(lines)}\n<p>{escaped(EXPLAINED)}</p>"


def _picture(title: str, lines: Mapping[Line, Sequence[Point]]) -> str:
    scale = _Scale.of([point for points in lines.values() for point in points])
    drawn, number = scale.axes(), 0
    for place, points in enumerate(lines.values()):
        colour, at = place % COLOURS, [(scale.x(point.bytes), scale.y(point.accuracy)) for point in points]
        if len(at) > 1:
            drawn.append(polyline(at, colour))
        for x, y in at:
            number += 1
            drawn.append(polyline([(x, y)], colour))
            drawn.append(f'<text x="{x + 5:.1f}" y="{max(y - 5, 10):.1f}">{number}</text>')
    names = [line_name(line, lines) for line in lines]
    alt = f"{title}, against bytes a task, {number} points, as in the table: {', '.join(names)}"
    keys = "".join(key(name, place % COLOURS) for place, name in enumerate(names))
    return figure(title, alt, WIDTH, HEIGHT, drawn, keys)


def _table(lines: Mapping[Line, Sequence[Point]]) -> str:
    rows = list[list[str]]()
    for line, points in lines.items():
        for point in points:
            cells = [str(len(rows) + 1), f"{point.bytes:,.0f}", decimals(point.accuracy, 2)]
            rows.append([line_name(line, lines), point.size, *cells])
    return table(["Way", "Size of masks", "Point", "Bytes a task", "Accuracy, %"], rows, 2)
