"""Reports: tables and pictures made out of records of runs, and of nothing else."""

from supermasks.report.comparison import plot_runs
from supermasks.report.frontier import write_frontier
from supermasks.report.html import write_html
from supermasks.report.mammoth import write_mammoth
from supermasks.report.measures import measures_markdown
from supermasks.report.plots import plot_record
from supermasks.report.summary import Row, summarise
from supermasks.report.tables import markdown_table, rich_table
from supermasks.report.write import read_runs, write_report

__all__ = [
    "Row",
    "markdown_table",
    "measures_markdown",
    "plot_record",
    "plot_runs",
    "read_runs",
    "rich_table",
    "summarise",
    "write_frontier",
    "write_html",
    "write_mammoth",
    "write_report",
]
