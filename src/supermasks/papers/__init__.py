"""The papers as data: every table and figure, the experiment behind each row, and the numbers that were published."""

from supermasks.papers.exssnet import EXSSNET
from supermasks.papers.published import matching_rows, published
from supermasks.papers.running import Result, at_scale, run_table
from supermasks.papers.scale import Scale
from supermasks.papers.supsup import SUPSUP
from supermasks.papers.table import Paper, Row, Table, Value

PAPERS: dict[str, Paper] = {paper.name: paper for paper in (SUPSUP, EXSSNET)}
"""The papers by their names on the command line."""

__all__ = [
    "PAPERS",
    "Paper",
    "Result",
    "Row",
    "Scale",
    "Table",
    "Value",
    "at_scale",
    "matching_rows",
    "published",
    "run_table",
]
