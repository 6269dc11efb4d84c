"""A report of runs as one HTML file: tables that can be sorted, curves, matrices, bytes; it loads nothing."""

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from supermasks.errors import RunStateError
from supermasks.experiments.expression import brief
from supermasks.report.html_look import POLICY, SCRIPT, STYLE
from supermasks.report.html_parts import COLOURS, Line, escaped, heat_map, line_chart, table
from supermasks.report.html_tradeoff import tradeoff
from supermasks.report.measures import ABOUT, BYTES, EXPLAINED, measures
from supermasks.report.settings import Record, settings_of
from supermasks.report.style import decimals
from supermasks.report.summary import describe_evaluation, grouped, summarise
from supermasks.report.tables import CAPTION, HEADERS, paper_figures, table_lines
from supermasks.report.write import read_runs

WORDS = 4  # columns of the summary that hold words


def write_html(folders: Sequence[Path], out: Path) -> Path:
    """Write a report of runs as one HTML file, and return its path.

    The file needs no other file and makes no request. Names are escaped, and a Content-Security-Policy forbids all but
    the style and the script of the report.

    Args:
        folders: each is the folder of a run, or has such folders somewhere in it, or is a record itself.
        out: the file, such as `report.html`.

    Raises:
        RunStateError: a folder holds no record, or one that cannot be read; `out` is a folder.
    """
    if out.is_dir():
        raise RunStateError(f"expected a file for the HTML report, got the folder {out}; name a file in it")
    runs = read_runs(folders)
    page = html_page(runs)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(page, encoding="utf-8")
    return out


def html_page(runs: dict[str, Record]) -> str:
    """Return the HTML of a report.

    Args:
        runs: the records by name, as `read_runs` returns them.
    """
    sections = "\n".join(_section(name, record, len(runs) == 1) for name, record in runs.items())
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Report of {len(runs)} {"run" if len(runs) == 1 else "runs"}</title>
<style>{STYLE}</style>
</head>
<body>
<main>
<h1>Report of {len(runs)} {"run" if len(runs) == 1 else "runs"}</h1>
<h2>Summary</h2>
{_summary(list(runs.values()))}
<h2>Measures</h2>
{_measures(list(runs.values()))}
{tradeoff(list(runs.values()))}
<h2>Runs</h2>
{sections}
</main>
<script>{SCRIPT}</script>
</body>
</html>
"""


def _summary(records: Sequence[Record]) -> str:
    rows = summarise(records)
    headers, *lines = table_lines(rows)
    words = sum(header in HEADERS[:WORDS] for header in headers)
    figures = "".join(f"<li>{escaped(figure)}</li>" for figure in paper_figures(rows))
    sources = f"<p>The paper's figures are those of:</p><ul>{figures}</ul>" if figures else ""
    return f"{table(headers, lines, words)}\n<p>{escaped(CAPTION)}</p>{sources}"


def _measures(records: Sequence[Record]) -> str:
    headers, lines = measures(records)
    return f"{table(headers, lines, len(ABOUT))}\n<p>{escaped(EXPLAINED)}</p>{_curves(records)}"


def _curves(records: Sequence[Record]) -> str:
    """Return how accuracy went while tasks were learned, for a few groups of runs on the same tasks; else nothing."""
    groups = [(group, words) for group, words in grouped(records) if all(map(_so_far, group))]
    about = {tuple(group[0].get(name) for name in ("experiment", "dataset", "tasks", "net")) for group, _ in groups}
    if not 2 <= len(groups) <= COLOURS or len(about) > 1:
        return ""
    lines = list[Line]()
    for group, words in groups:
        points = zip(*map(_so_far, group), strict=True)
        means = [None if None in each else fmean(value for value in each if value is not None) for each in points]
        lines.append(Line(f"{group[0].get('way', '')}: {words}", _percents(means)))
    return line_chart("Mean accuracy over the tasks so far, task given, %", lines, "tasks learned")


def _so_far(record: Record) -> list[float | None]:
    found = record["accuracy"].get("so_far") or []
    return found if len(found) > 1 else []


def _section(name: str, record: Record, alone: bool) -> str:
    mean = decimals(100 * record["accuracy"]["mean"], 2)
    parts = [*_figures(record), _among(record), _forgotten(record), _bytes(record), _settings(record)]
    heading = f"{escaped(name)}: {mean}%"
    return f"<details{' open' if alone else ''}><summary>{heading}</summary>\n{''.join(parts)}\n</details>"


def _figures(record: Record) -> list[str]:
    accuracy: Record = record["accuracy"]
    lines = [Line("task given", _percents(_given(record)))]
    lines += [Line(describe_evaluation(found), _percents(found["per_task"])) for found in record["evaluations"]]
    drawn = [line_chart("Accuracy of each task in the end, %", lines, "task, in the order of learning")]
    if so_far := _so_far(record):
        mean = [Line("mean over the tasks so far, task given", _percents(so_far))]
        drawn.append(line_chart("Accuracy while tasks are learned, %", mean, "tasks learned"))
    if accuracy["matrix"] is not None:
        matrix = [_percents(row) for row in accuracy["matrix"]]
        drawn.append(heat_map("Accuracy matrix, task given, %", matrix))
    return drawn


def _among(record: Record) -> str:
    """Return accuracy against how many tasks there are to choose among, where checkpoints were measured."""
    lines = [
        [describe_evaluation(found), *_among_cells(row)]
        for found in record["evaluations"]
        if len(found.get("among", [])) > 1
        for row in found["among"]
    ]
    headers = ["How the task is found", "Tasks to choose among", "Accuracy, %", "Right task found, %"]
    return f"<h3>Accuracy against the number of tasks</h3>{table(headers, lines, 1)}" if lines else ""


def _among_cells(row: Record) -> list[str]:
    return [f"{row['tasks']:,}", *(decimals(100 * row[what], 2) for what in ("accuracy", "task_identification"))]


def _given(record: Record) -> Sequence[float]:
    accuracy: Record = record["accuracy"]
    return accuracy["given_per_task"] if "given_per_task" in accuracy else accuracy["matrix"][-1]  # older records


def _percents(fractions: Sequence[float | None]) -> list[float | None]:
    return [None if fraction is None else 100 * fraction for fraction in fractions]


def _forgotten(record: Record) -> str:
    """Return what each task has lost since its best, where the whole matrix was measured."""
    accuracy: Record = record["accuracy"]
    total = f"<p>Forgetting (Chaudhry et al., 2018): {decimals(100 * accuracy['forgetting'], 2)} points.</p>"
    matrix = accuracy["matrix"]
    if matrix is None or len(matrix) == 1:
        return f"<h3>Forgetting</h3>{total}"
    lines = list[list[str]]()
    for task in range(len(matrix) - 1):
        column = [row[task] for row in matrix[task:]]
        numbers = (column[0], max(column[:-1]), column[-1], max(column[:-1]) - column[-1])
        lines.append([str(task + 1), *(decimals(100 * number, 2) for number in numbers)])
    headers = ["Task", "Just learned, %", "Best before the last task, %", "In the end, %", "Forgotten, points"]
    return f"<h3>Forgetting</h3>{total}{table(headers, lines, 0)}"


def _bytes(record: Record) -> str:
    sizes, tasks = record["bytes"], record["tasks"]
    lines = [
        [what, f"{sizes[key]:,.0f}", f"{sizes[key] / tasks:,.0f}"] for key, what in BYTES.items() if sizes.get(key)
    ]
    return f"<h3>Bytes</h3>{table(['What', 'Bytes', 'Bytes a task'], lines, 1)}"


def _settings(record: Record) -> str:
    lines = [[name, brief(value)] for name, value in settings_of(record).items()]
    versions = ", ".join(f"{name} {value}" for name, value in record["versions"].items())
    command = f"<h3>Command</h3><pre><code>{escaped(record['command'])}</code></pre>" if record["command"] else ""
    settings = table(["Setting", "Value"], lines, 2, sortable=False)
    return f"{command}<h3>Settings</h3>{settings}<h3>Versions</h3><p>{escaped(versions)}</p>"
