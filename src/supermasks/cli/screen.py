"""What commands show: progress bars, tables, and texts as they are."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from supermasks.brief import visible
from supermasks.cli.extra import (
    BarColumn,
    Console,
    MofNCompleteColumn,
    Progress,
    TaskID,
    Text,
    TextColumn,
    TimeElapsedColumn,
)
from supermasks.report import read_runs, rich_table, summarise, write_report


class Bars:
    """Draws the progress of a run on the terminal: one bar for the tasks, one for the steps of the present task."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._parts: TaskID | None = None
        self._steps = progress.add_task("", total=1, visible=False)

    def begin(self, what: str, total: int) -> None:
        """Draw a new bar of `total` parts."""
        self._progress.update(self._steps, visible=False)
        self._parts = self._progress.add_task(what, total=total, detail="")
        if not self._progress.console.is_terminal:  # no bar is drawn in a log until all is done
            self._progress.console.print(f"{what}: {total} in all", markup=False)

    def advance(self, detail: str) -> None:
        """Move the bar on by one part."""
        assert self._parts is not None, "begin comes before advance"
        self._progress.update(self._parts, advance=1, detail=detail)

    def step(self, done: int, total: int) -> None:
        """Draw how far the present part is."""
        if done % 10 == 0 or done == total:
            self._progress.update(
                self._steps, completed=done, total=total, visible=True, description="  steps", detail=""
            )


def with_bars(job: Callable[[Bars], Any]) -> Any:
    """Return what a job returns that draws bars."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[detail]}", markup=False),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        return job(Bars(progress))


def wide_console() -> Console:
    """Return a console; where there is no terminal, tables would otherwise be cut to 80 columns."""
    return Console() if Console().is_terminal else Console(width=140)


def literal(text: str) -> Text:
    """Return a text that a terminal shows as it is: nothing in it is markup, or steers the terminal."""
    return Text(visible(text))


def print_table(folders: Sequence[Path]) -> None:
    """Print the table of some runs."""
    wide_console().print(rich_table(summarise(read_runs(folders).values())))


def finish(out: Path) -> None:
    """Report a finished run, and say where everything is."""
    report = write_report([out], out / "report")
    print_table([out])
    bank = f"\nbank     {out / 'bank'}" if (out / "bank").exists() else ""
    print(f"record   {out / 'record.json'}{bank}\nreport   {report}")
    for picture in sorted(report.parent.glob("*.png")):
        print(f"picture  {picture}")
