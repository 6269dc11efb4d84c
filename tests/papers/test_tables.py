"""The tables and figures of the papers: complete, and each row can be made or says why not."""

import pytest

from supermasks.errors import ConfigError
from supermasks.experiments import Experiment
from supermasks.papers import PAPERS, Row, Table
from supermasks.spec import build, describe

ROWS = [
    pytest.param(row, id=f"{paper.name} {table.number} {row.what}")
    for paper in PAPERS.values()
    for table in paper.tables
    for row in table.rows
]


def test_no_table_and_no_figure_of_the_papers_is_missing() -> None:
    supsup = {*map(str, range(1, 10)), *(f"figure-{n}" for n in range(1, 12))}
    exssnet = {*map(str, range(1, 16)), *(f"figure-{n}" for n in range(1, 8))}
    assert {table.number for table in PAPERS["supsup"].tables} == supsup
    assert {table.number for table in PAPERS["exssnet"].tables} == exssnet


@pytest.mark.parametrize("table", [table for paper in PAPERS.values() for table in paper.tables])
def test_a_table_says_what_it_needs_or_why_it_has_no_rows(table: Table) -> None:
    assert table.title
    if table.rows:
        assert table.needs
        assert table.time or all(row.experiment is None for row in table.rows)
        assert len({row.what for row in table.rows}) == len(table.rows)
    else:
        assert table.see or table.note


@pytest.mark.parametrize("row", ROWS)
def test_the_experiment_of_a_row_round_trips(row: Row) -> None:
    assert (row.experiment is None) == bool(row.missing)
    if row.experiment is not None:
        assert build(describe(row.experiment), Experiment) == row.experiment
        assert row.values or row.differs


def test_tables_are_found_by_their_number() -> None:
    supsup = PAPERS["supsup"]
    assert supsup.table("3").heading == "Table 3"
    assert supsup.table("Figure-11").heading == "Figure 11"
    assert supsup.table("table-3") is supsup.table("3")
    with pytest.raises(ConfigError, match="got '12'"):
        supsup.table("12")


def test_numbers_are_those_of_the_papers() -> None:
    """Some that were looked up again."""

    def expected(paper: str, number: str, what: str) -> list[float | None]:
        rows = {row.what: row for row in PAPERS[paper].table(number).rows}
        return [value.expected for value in rows[what].values]

    assert expected("supsup", "2", "SupSup (GG) Transfer, budget 8") == [90.12, 1_035_792]
    assert expected("supsup", "4", "SupSup (GNu G)") == [96.28, 96.19, 96.05, 96.00, 95.99, 95.92, 96.07]
    assert expected("supsup", "9", "SupSup (GNu s = 25 H)")[-2:] == [57.03, 65.34]
    assert expected("exssnet", "2", "SSNeT, S-CIFAR100") == [23.9, 54.4]
    assert expected("exssnet", "3", "ExSSNeT + KKT, S-TinyImageNet") == [54.0]
    assert expected("exssnet", "1", "LAMOL, S4") == [77.2]
    assert expected("exssnet", "15", "ExSSNeT, S8") == [73.24]


def test_averages_are_those_of_the_numbers_beside_them() -> None:
    """The papers' own averages, to their last digit: a number that was copied wrongly would show here."""
    off: list[tuple[str, str]] = []
    for table in PAPERS["supsup"].tables:
        for row in table.rows:
            if len(row.values) in (6, 7) and row.values[-1].measure.in_words() == "on average, %":
                *numbers, average = [value.expected or 0.0 for value in row.values]
                if abs(sum(numbers) / len(numbers) - average) > 0.02:
                    off.append((table.number, row.what))
    assert off == []


def test_a_row_needs_an_experiment_or_a_reason() -> None:
    with pytest.raises(ConfigError, match="missing"):
        Row("nothing")
