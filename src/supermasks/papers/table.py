"""Tables and figures of a paper as data."""

from dataclasses import dataclass, field

from supermasks.errors import ConfigError
from supermasks.experiments import Experiment
from supermasks.papers.measures import Measure


@dataclass(frozen=True)
class Value:
    """One number of a row.

    Attributes:
        measure: what it measures.
        expected: the paper's number, in the unit of the table; None if the paper gives it as a picture only.
    """

    measure: Measure
    expected: float | None


@dataclass(frozen=True)
class Row:
    """One row of a table, or one curve of a figure.

    Attributes:
        what: its name in the paper.
        values: the paper's numbers.
        experiment: makes the row; None if it cannot be made yet.
        missing: why there is no experiment.
        differs: how the experiment differs from the paper's, where it does.
    """

    what: str
    values: tuple[Value, ...] = ()
    experiment: Experiment | None = None
    missing: str = ""
    differs: str = ""

    def __post_init__(self) -> None:
        if (self.experiment is None) == (not self.missing):
            raise ConfigError(f"row {self.what!r} needs either an experiment, or words that say what is missing")


@dataclass(frozen=True)
class Table:
    """A table or a figure.

    Attributes:
        number: "2", or "figure-2".
        title: in short.
        rows: of the table; none if nothing is measured.
        needs: which data it takes.
        time: what all rows take, at the paper's scale.
        note: anything else that a reader should know.
        see: the tables with the same numbers.
    """

    number: str
    title: str
    rows: tuple[Row, ...] = ()
    needs: str = ""
    time: str = ""
    note: str = ""
    see: tuple[str, ...] = ()

    @property
    def heading(self) -> str:
        """Such as "Table 2" or "Figure 11"."""
        kind, _, number = self.number.rpartition("-")
        return f"{kind.capitalize() or 'Table'} {number}"


@dataclass(frozen=True)
class Paper:
    """A paper.

    Attributes:
        name: on the command line.
        title: of the paper.
        short: its name in reports.
        tables: its tables and figures.
    """

    name: str
    title: str
    short: str
    tables: tuple[Table, ...] = field(default=())

    def table(self, number: str) -> Table:
        """Return the table or figure with this number.

        Raises:
            ConfigError: there is none.
        """
        for table in self.tables:
            if table.number == number.lower().removeprefix("table-"):
                return table
        numbers = ", ".join(table.number for table in self.tables)
        raise ConfigError(f"a table of {self.name} must be one of {numbers}, got {number!r}")
