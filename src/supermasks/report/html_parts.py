"""Parts of an HTML report as text: tables, lines over tasks, and the matrix of accuracies. All words are escaped."""

import html
import re
from collections.abc import Sequence
from itertools import groupby
from statistics import fmean
from typing import NamedTuple

from supermasks.brief import visible

WIDTH, HEIGHT = 640, 260  # of a drawing of lines
LEFT, TOP, BOTTOM = 44, 12, 30  # its margins
COLOURS = 8
MOST_POINTS = 500  # of a line; more could not be told apart
MOST_CELLS = 100  # of a side of a matrix; smaller ones could not be seen
MOST_NUMBERS = 12  # of a matrix with numbers in its cells
LEAST_SPAN = 2.0  # points; a narrower axis would make noise look like a finding


class Line(NamedTuple):
    """A line over tasks: its name, and a height in percent for each task (None where it was not measured)."""

    name: str
    heights: Sequence[float | None]


def escaped(text: object) -> str:
    r"""Return a text that HTML shows literally, in an element or a quoted attribute.

    Example:
        >>> escaped('<b> "x"\x1b')
        '&lt;b&gt; &quot;x&quot;\\x1b'
    """
    return html.escape(visible(str(text)))


def table(headers: Sequence[str], lines: Sequence[Sequence[str]], words: int, sortable: bool = True) -> str:
    """Return a table.

    Args:
        headers: of the columns.
        lines: as many cells as headers.
        words: how many columns, from the first, hold words; the others hold numbers.
        sortable: whether the script adds buttons that sort it.
    """
    kinds = ["words" if column < words else "number" for column in range(len(headers))]
    head = "".join(
        f'<th scope="col" class="{kind}">{escaped(name)}</th>' for name, kind in zip(headers, kinds, strict=True)
    )
    body = "\n".join(f"<tr>{''.join(_cells(line, kinds))}</tr>" for line in lines)
    kind = ' class="sortable"' if sortable else ""
    start = f'<div class="wide" tabindex="0"><table{kind}>'  # the keyboard can scroll it
    return f"{start}<thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table></div>"


def _cells(line: Sequence[str], kinds: Sequence[str]) -> list[str]:
    cells = list[str]()
    for column, (cell, kind) in enumerate(zip(line, kinds, strict=True)):
        value = escaped(cell) if kind == "words" else sort_value(cell)
        tag = 'th scope="row"' if column == 0 else "td"
        cells.append(f'<{tag} class="{kind}" data-value="{value}">{escaped(cell)}</{tag[:2]}>')
    return cells


def sort_value(cell: str) -> str:
    """Return the number that a cell begins with, empty if there is none.

    Example:
        >>> sort_value("93,210.5 ± 0.1 (3 seeds)"), sort_value("no number")
        ('93210.5', '')
    """
    found = re.match(r"-?\d[\d,]*(\.\d+)?", cell)
    return "" if found is None else found[0].replace(",", "")


def line_chart(title: str, lines: Sequence[Line], below: str) -> str:
    """Return a figure with lines over tasks, in percent.

    Args:
        title: of the figure.
        lines: all have a height for each task.
        below: what the horizontal axis is.
    """
    heights = [height for line in lines for height in line.heights if height is not None]
    low, high = min(heights), max(heights)
    low = min(low, high - LEAST_SPAN)
    count = max(len(line.heights) for line in lines)

    def x(task: int) -> float:
        return LEFT + (WIDTH - LEFT - 10) * (task / (count - 1) if count > 1 else 0.5)

    def y(height: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (height - low) / (high - low)

    drawn = list[str]()
    for step in range(5):
        height = low + (high - low) * step / 4
        drawn.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - 10}" y1="{y(height):.1f}" y2="{y(height):.1f}"/>')
        drawn.append(f'<text x="{LEFT - 6}" y="{y(height) + 4:.1f}" text-anchor="end">{height:.1f}</text>')
    for task in sorted({0, (count - 1) // 2, count - 1}):
        drawn.append(f'<text x="{x(task):.1f}" y="{HEIGHT - 17}" text-anchor="middle">{task + 1:,}</text>')
    drawn.append(f'<text x="{WIDTH / 2}" y="{HEIGHT - 4}" text-anchor="middle">{escaped(below)}</text>')
    for number, line in enumerate(lines):
        every = -(-len(line.heights) // MOST_POINTS)
        points = [(task, height) for task, height in enumerate(line.heights) if task % every == 0]
        drawn += [
            polyline([(x(task), y(height)) for task, height in part if height is not None], number % COLOURS)
            for missing, part in groupby(points, key=lambda point: point[1] is None)
            if not missing
        ]
    keys = "".join(key(line.name, number % COLOURS) for number, line in enumerate(lines))
    names = ", ".join(line.name for line in lines)
    alt = f"{title}, from {low:.1f}% to {high:.1f}%, over {count} tasks: {names}"
    return figure(title, alt, WIDTH, HEIGHT, drawn, keys)


def key(name: str, colour: int) -> str:
    """Return a line of a legend: a mark in a colour, and a name."""
    mark = f'<span class="s{colour}" aria-hidden="true">&#9632;</span>'
    return f'<span class="key">{mark} {escaped(name)}</span>'


def polyline(points: Sequence[tuple[float, float]], colour: int) -> str:
    """Return a line through points of a drawing, or a dot for a single one."""
    if len(points) == 1:
        (x, y), *_ = points
        return f'<circle class="s{colour}" cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="currentColor"/>'
    return f'<polyline class="line s{colour}" points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in points)}"/>'


def heat_map(title: str, matrix: Sequence[Sequence[float | None]]) -> str:
    """Return a figure of accuracies in percent: a row for each task that was learned, a column for each task."""
    tasks, known = len(matrix), [entry for row in matrix for entry in row if entry is not None]
    every = -(-tasks // MOST_CELLS)
    matrix = _averaged(matrix, every) if every > 1 else matrix
    count, side = len(matrix), 340 / len(matrix)
    low = min([*known, 95.0])
    drawn = list[str]()
    for j in range(count):
        column = [(i, entry) for i in range(count) if (entry := matrix[i][j]) is not None]
        shades = [(i, f"{0.08 + 0.92 * (entry - low) / (100 - low):.2f}") for i, entry in column]
        for shade, rows in groupby(shades, key=lambda pair: pair[1]):  # equal neighbours are one box: a smaller file
            first, *_, last = [i for i, _ in rows] * 2
            box = f'width="{side:.1f}" height="{(last - first + 1) * side:.1f}"'
            at = f'x="{40 + j * side:.1f}" y="{10 + first * side:.1f}"'
            drawn.append(f'<rect class="cell" {at} {box} fill-opacity="{shade}"/>')
        if count <= MOST_NUMBERS:
            drawn += [_number(40 + (j + 0.5) * side, 14 + (i + 0.5) * side, entry, low) for i, entry in column]
    for task in sorted({0, count - 1}):
        middle = (task + 0.5) * side
        number = tasks if task else 1
        drawn.append(f'<text x="34" y="{14 + middle:.1f}" text-anchor="end">{number}</text>')
        drawn.append(f'<text x="{40 + middle:.1f}" y="366" text-anchor="middle">{number}</text>')
    alt = (
        f"{title}: from {min(known):.1f}% to {max(known):.1f}%, after each of {tasks} tasks (rows) on each task so far"
    )
    keys = f"Rows: after learning that task. Columns: accuracy on that task. Palest is {low:.1f}%, fullest 100%."
    if every > 1:
        keys += f" A box is the mean of {every} x {every} accuracies."
    return figure(title, alt, 390, 375, drawn, keys)


def _averaged(matrix: Sequence[Sequence[float | None]], every: int) -> list[list[float | None]]:
    """Return the means of squares of a matrix; None where no entry of a square is known."""
    starts = range(0, len(matrix), every)
    squares = [
        [[e for row in matrix[i : i + every] for e in row[j : j + every] if e is not None] for j in starts]
        for i in starts
    ]
    return [[fmean(square) if square else None for square in row] for row in squares]


def _number(x: float, y: float, entry: float, low: float) -> str:
    kind = "dark" if entry > (low + 100) / 2 else "faint"
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="middle">{entry:.0f}</text>'


def figure(title: str, alt: str, width: int, height: int, drawn: Sequence[str], below: str) -> str:
    """Return a figure.

    Args:
        title: above the drawing.
        alt: what it shows, in words.
        width: of the drawing.
        height: of the drawing.
        drawn: the parts of the drawing, as SVG.
        below: the caption, as HTML.
    """
    start = f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escaped(alt)}">'
    return f"<figure><h3>{escaped(title)}</h3>{start}{''.join(drawn)}</svg><figcaption>{below}</figcaption></figure>"
