"""Tables of rows: the same columns in Markdown, and on the terminal."""

from collections.abc import Sequence

from supermasks.brief import visible
from supermasks.report.extra import Table, Text
from supermasks.report.summary import Row
from supermasks.report.words import in_markdown

NOTHING = "–"  # noqa: RUF001, a dash says "no such number", a minus would look like one
HEADERS = (
    "Experiment",
    "Data and training",
    "Network",
    "How the task is found",
    "Accuracy, %",
    "Right task found, %",
    "Found by mean image, %",
    "Paper's accuracy, %",
    "Forgotten, points",
    "Bytes a task (masks)",
    "Seconds to learn a task",
    "Seconds to test",
)
# What fits side by side, with all that tells rows apart; report.md has all columns.
ON_TERMINALS = HEADERS[:9]
LONGEST_WORD = 22  # on a terminal; longer ones are folded
CAPTION = (
    "Accuracy: test images answered rightly after all tasks are learned, mean over the tasks and the seeds, "
    "± sample standard deviation over seeds. "
    'Unless the row says "task given", the task of an image is inferred. '
    "An image (or batch) whose task is found wrongly counts as wrong (scenario GNu). "
    "In scenario NNs, the label alone counts. "
    "Right task found: how many of these decisions are right. "
    "Found by mean image: how many are right without any network, by the nearest mean training image. "
    "Where this is near 100%, the tasks are easy to tell apart, and finding them shows little. "
    "Paper's accuracy: what the paper reports for the same settings and the same way of scoring. "
    "Forgotten: how far accuracies fell from their best while later tasks were learned, the task being given. "
    "Bytes a task: the bank and a trunk that tasks share, without what only training needs; in parentheses the "
    "coded masks alone. "
    "Seconds: wall clock; to test means to find task and label of all test images of all tasks."
)


def markdown_table(rows: Sequence[Row]) -> str:
    """Return the rows as a table in Markdown, followed by what its columns and the papers' figures mean."""
    headers, *cells = table_lines(rows)
    lines = [headers, ["---"] * len(headers), *([in_markdown(cell) for cell in line] for line in cells)]
    table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    figures = "".join(f"- {in_markdown(figure)}\n" for figure in paper_figures(rows))
    return f"{table}\n\n{CAPTION}\n" + (f"\nThe paper's figures are those of:\n\n{figures}" if figures else "")


def rich_table(rows: Sequence[Row]) -> Table:
    """Return the rows as a table for the terminal, without some columns, followed by what the others mean."""
    figures = "".join(f"\n{visible(figure)}" for figure in paper_figures(rows))
    table = Table(caption=Text(CAPTION + figures), caption_justify="left", show_lines=True)
    headers, *cells = table_lines(rows, ON_TERMINALS)
    shown = [[Text(visible(cell), overflow="fold") for cell in line] for line in cells]
    for header, *column in zip(headers, *shown, strict=True):
        widest = max(len(word) for cell in (header, *column) for word in str(cell).split())
        justify = "left" if header in HEADERS[:4] else "right"
        table.add_column(header, justify=justify, overflow="fold", min_width=min(widest, LONGEST_WORD))
    for line in shown:
        table.add_row(*line)
    return table


def table_lines(rows: Sequence[Row], wanted: Sequence[str] = HEADERS) -> list[list[str]]:
    """Return headers and cells of the columns that are wanted and in which some row has something."""
    cells = [_cells(row) for row in rows]
    filled = [i for i in range(len(HEADERS)) if not cells or any(line[i] != NOTHING for line in cells)]
    used = [i for i in filled if HEADERS[i] in wanted]
    return [[line[i] for i in used] for line in (HEADERS, *cells)]


def _cells(row: Row) -> tuple[str, ...]:
    accuracy = f"{row.accuracy:.2f}" + ("" if row.std is None else f" ± {row.std:.2f}")
    paper = NOTHING if row.published is None else f"{row.published:.2f} ({row.source})"
    outputs = "" if row.outputs is None else f", {row.outputs} outputs"
    masks = "" if row.mask_bytes_per_task is None else f" ({row.mask_bytes_per_task:,.0f})"
    return (
        f"{row.experiment}, {_count(row.tasks, 'task')} ({row.scenario})",
        f"{row.dataset}, {row.training}",
        f"{row.net}{outputs}",
        row.how,
        f"{accuracy} ({_count(row.seeds, 'seed')})",
        _number(row.identification, 2),
        _number(row.router, 2),
        paper,
        _number(row.forgetting, 2),
        _number(row.bytes_per_task, 0) + masks,
        _number(row.train_seconds, 1),
        _number(row.infer_seconds, 1),
    )


def paper_figures(rows: Sequence[Row]) -> list[str]:
    """Return the source of each published number in these rows, and what it is a number of."""
    return list(dict.fromkeys(f"{row.source}: {row.published_as}" for row in rows if row.published is not None))


def _number(value: float | None, digits: int) -> str:
    # Adding zero turns -0.0 into 0.0, which is what a reader expects of nothing forgotten.
    return NOTHING if value is None else f"{round(value, digits) + 0.0:,.{digits}f}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")
