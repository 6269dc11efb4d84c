"""`supermasks paper`: the tables and figures of the papers, what each needs, and runs of them."""

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

from supermasks.cli.extra import Table, Text, tyro
from supermasks.cli.screen import literal, wide_console, with_bars
from supermasks.errors import ConfigError, DataUnavailableError
from supermasks.experiments import Experiment
from supermasks.experiments.running.record import RECORD
from supermasks.papers import PAPERS, Paper, Result, Row, Scale, at_scale, matching_rows, run_table
from supermasks.papers import Table as PaperTable
from supermasks.report import read_runs

NOTHING = "–"  # noqa: RUF001, a dash says "no such number"
LEFT_OUT = "left out"


def paper(
    name: tyro.conf.Positional[str | None] = None,
    table: tyro.conf.Positional[str | None] = None,
    scale: Literal["paper", "small"] = "paper",
    dry: bool = False,
    only: str | None = None,
    seed: int = 0,
    out: Path = Path("runs/papers"),
    data: Path | None = None,
    device: str = "cpu",
    results: Path = Path("results"),
    small: tyro.conf.OmitArgPrefixes[Scale] = Scale(),  # noqa: B008, it is immutable
) -> None:
    """List the tables and figures of the papers, or run one: `supermasks paper supsup 2 --scale small`.

    Args:
        name: "supsup" or "exssnet"; without it both are listed.
        table: such as 2 or figure-11; without it the paper's tables are listed.
        scale: "paper" for the paper's data, tasks and training; "small" for real data at hand, in minutes.
        dry: show the rows of the table, what each run would be at this scale and why others are left out; run nothing.
        only: the names of rows, with "*" for any text, such as "*, S-MNIST"; by default all rows.
        seed: random seed of the runs.
        out: folder of the runs; a stopped or finished run in it is resumed.
        data: folder of the data sets; by default $SUPERMASKS_DATA and the cache.
        device: where to compute, such as "cuda".
        results: a folder of records; the list says how many rows of each table have a record in it.
        small: how small `--scale small` is.
    """
    if name is None or table is None:
        _list([_paper(name)] if name else list(PAPERS.values()), results)
        return
    of = _paper(name)
    chosen = _rows(of.table(table), only)
    limits = small if scale == "small" else None
    if dry:
        _plan(of, chosen, limits, seed, data)
        return
    folder = out / of.name / chosen.number / scale
    words = ["supermasks", *sys.argv[1:]]
    made = with_bars(
        lambda bars: run_table(
            chosen, folder, scale=limits, seed=seed, data=data, device=device, watcher=bars, command=words
        )
    )
    _show(of, chosen, made, scale, folder)


def _paper(name: str) -> Paper:
    if name not in PAPERS:
        raise ConfigError(f"a paper must be one of {', '.join(PAPERS)}, got {name!r}")
    return PAPERS[name]


def _rows(table: PaperTable, only: str | None) -> PaperTable:
    """Return a table with some of its rows; None keeps all."""
    if only is None:
        return table
    rows = tuple(row for row in table.rows if fnmatchcase(row.what, only))
    if not rows:
        names = "; ".join(row.what for row in table.rows) or "none, since nothing is measured"
        raise ConfigError(f"expected the name of a row of {table.heading}, got {only!r}; its rows are: {names}")
    return replace(table, rows=rows)


def _list(papers: Sequence[Paper], results: Path) -> None:
    found = _records(results)
    for paper in papers:
        table = Table(title=paper.title, title_justify="left", show_lines=True)
        for header in ("", "what", "rows that can be run", "records", "needs", "time"):
            table.add_column(header, overflow="fold")
        for one in paper.tables:
            can = sum(row.experiment is not None for row in one.rows)
            there = sum(found[paper.name, one.number, number] > 0 for number in range(len(one.rows)))
            words = [one.number, _about(one), f"{can} of {len(one.rows)}" if one.rows else NOTHING]
            table.add_row(*map(literal, [*words, str(there or NOTHING), one.needs or NOTHING, one.time or NOTHING]))
        wide_console().print(table)
    print("rows of a table:  supermasks paper supsup 2 --dry\nrun a table:  supermasks paper supsup 2 --scale small")


def _plan(paper: Paper, chosen: PaperTable, limits: Scale | None, seed: int, data: Path | None) -> None:
    """Show the rows of a table: the numbers of the paper, the run, and what differs or why there is none."""
    runs = [_planned(row, limits, seed, data) for row in chosen.rows]
    table = Table(title=_heading(paper, chosen), title_justify="left", show_lines=True)
    for header in ("row", "measured", "paper", "run", ""):
        table.add_column(header, overflow="fold", justify="right" if header == "paper" else "left")
    for row, (experiment, said) in zip(chosen.rows, runs, strict=True):
        measured, theirs, _ = zip(*_lines(Result(row, None)), strict=True)
        title = NOTHING if experiment is None else experiment.title
        table.add_row(*_cells([row.what, "\n".join(measured), "\n".join(theirs), title, said]))
    if chosen.rows:
        wide_console().print(table)
    for what, words in (("needs", chosen.needs), ("time ", chosen.time), ("note ", _about(chosen))):
        if words:
            print(f"{what}  {words}")
    print(f"runs   {len({experiment for experiment, _ in runs if experiment})}; equal experiments share a run")


def _planned(row: Row, limits: Scale | None, seed: int, data: Path | None) -> tuple[Experiment | None, str]:
    """Return the experiment that would be run for a row, and what differs; or none, and why it is left out."""
    if row.experiment is None:
        return None, f"{LEFT_OUT}: {row.missing}"
    try:
        experiment, differs = at_scale(row, row.experiment, limits, seed, data)
    except DataUnavailableError as error:
        return None, f"{LEFT_OUT}: {error}"
    return experiment, "; ".join(differs)


def _cells(cells: Sequence[str]) -> list[Text | str]:
    """Return cells as they are shown: of several lines only where they are ours."""
    return [literal(cell) if "\n" not in cell else cell for cell in cells]


def _heading(paper: Paper, table: PaperTable) -> str:
    return f"{paper.short}, {table.heading}: {table.title}"


def _about(table: PaperTable) -> str:
    see = f"The numbers of {' and '.join(f'table {number}' for number in table.see)}." if table.see else ""
    return " ".join(filter(None, [table.title + ".", see, table.note]))


def _records(results: Path) -> Counter[tuple[str, str, int]]:
    """Count for each row of the papers the records that there are."""
    if not any(results.rglob(RECORD)):
        return Counter()
    records = read_runs([results])
    return Counter(row for record in records.values() for row in matching_rows(record))


def _show(paper: Paper, chosen: PaperTable, made: Sequence[Result], scale: str, folder: Path) -> None:
    table = Table(title=_heading(paper, chosen), title_justify="left", show_lines=True)
    for header, justify in (("row", "left"), ("measured", "left"), ("paper", "right"), ("ours", "right")):
        table.add_column(header, justify=justify, overflow="fold")  # pyright: ignore[reportArgumentType]
    table.add_column("", overflow="fold")
    everywhere = _in_all([result.differs for result in made if result.record])
    for result in made:
        lines = list(_lines(result))
        own = [words for words in result.differs if words not in everywhere]
        said = f"{LEFT_OUT}: {result.reason}" if result.reason else "; ".join(own)
        cells = [result.row.what, *("\n".join(column) for column in zip(*lines, strict=True)), said]
        table.add_row(*_cells(cells))
    wide_console().print(table)
    if chosen.see:
        print(f"{_about(chosen)}")
    elif not made:
        print(chosen.note or "There is nothing to run.")
    if everywhere:
        print(f"All runs differ from the paper's in: {'; '.join(everywhere)}.")
    if scale == "small":
        print("These are small runs: their order says something, their numbers do not reproduce the paper's.")
    if any(result.record for result in made):
        print(f"records  {folder}\nreport   supermasks report {folder}")


def _in_all(lists: Sequence[Sequence[str]]) -> list[str]:
    """Return the words that are in all lists."""
    return [words for words in (lists[0] if lists else ()) if all(words in each for each in lists)]


def _lines(result: Result) -> list[tuple[str, str, str]]:
    """Return what is measured, the paper's number and ours, for each number of a row."""
    record, lines = result.record, list[tuple[str, str, str]]()
    for value in result.row.values:
        ours, words = None if record is None else value.measure.of(record), value.measure.in_words()
        lines.append((words, _number(value.expected), _number(ours)))
    if record is not None and all(line[2] == NOTHING for line in lines):
        ends = [value.measure.at_the_end(record) for value in result.row.values[:1]]
        ours = ends[0] if ends else 100 * record["accuracy"]["mean"]
        lines.append((f"after all {record['tasks']} tasks", NOTHING, _number(ours)))
    return lines or [(NOTHING, NOTHING, NOTHING)]


def _number(value: Any) -> str:
    return NOTHING if value is None else f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.2f}"
