"""Short words to write tables with."""

from collections.abc import Mapping, Sequence

from supermasks.evaluation import FirstOfBatch, Scoring
from supermasks.experiments import Experiment
from supermasks.inference import Objective, OneShot, TaskInference
from supermasks.papers.measures import Accuracy, Among, Average, Forgetting, Given, Measure
from supermasks.papers.table import Row, Value


def needs(what: str) -> str:
    """Say that a method is not built yet."""
    return f"needs {what}, not built yet"


def quoted(source: str) -> str:
    """Say that the paper did not measure a number itself."""
    return f"quoted by the paper from {source}; there is nothing to run"


def accuracy(percent: float | None, forgetting: float | None = None) -> tuple[Value, ...]:
    """Return an accuracy, None where the paper has no number, and the forgetting where the paper has it."""
    forgotten = () if forgetting is None else (Value(Forgetting(), forgetting),)
    return (Value(Accuracy(), percent), *forgotten)


def given(counts: Sequence[int], percents: Sequence[float], average: float) -> tuple[Value, ...]:
    """Return accuracies after so many tasks, with the task given, and their average."""
    return _after([Given(count) for count in counts], percents, average)


def among(
    counts: Sequence[int],
    percents: Sequence[float],
    average: float,
    objective: Objective,
    scoring: Scoring | None = None,
) -> tuple[Value, ...]:
    """Return accuracies among so many tasks by One-Shot, with the first image of a batch, and their average."""
    how: TaskInference = OneShot(objective)
    return _after([Among(count, how, scoring or FirstOfBatch()) for count in counts], percents, average)


def curve(counts: Sequence[int], inference: TaskInference, scoring: Scoring) -> tuple[Value, ...]:
    """Return accuracies among so many tasks, of which the paper gives a picture only."""
    return tuple(Value(Among(count, inference, scoring), None) for count in counts)


def columns(
    what: str,
    cells: Mapping[str, float | tuple[float, float | None] | None],
    made: Mapping[str, Experiment] | None = None,
    missing: str = "",
    differs: str = "",
) -> tuple[Row, ...]:
    """Return a row for each column of a table that has another experiment in each column.

    Args:
        what: the name of the row in the paper.
        cells: by column the accuracy, or the accuracy and the forgetting; None where the paper has no number.
        made: the experiment of each column.
        missing: why there are none.
        differs: how they differ from the paper's.
    """
    rows: list[Row] = []
    for column, cell in cells.items():
        values = accuracy(*cell) if isinstance(cell, tuple) else accuracy(cell)
        experiment = None if made is None else made[column]
        rows.append(Row(f"{what}, {column}", values, experiment, missing, differs if experiment else ""))
    return tuple(rows)


def _after(measures: Sequence[Measure], percents: Sequence[float], average: float) -> tuple[Value, ...]:
    values = [Value(measure, percent) for measure, percent in zip(measures, percents, strict=True)]
    return (*values, Value(Average(tuple(measures)), average))
