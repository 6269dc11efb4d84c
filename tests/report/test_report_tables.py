import io
import re
from collections.abc import Callable
from typing import Any

import pytest
from rich.console import Console

from supermasks.evaluation import FirstOfBatch
from supermasks.inference import Entropy, OneShot
from supermasks.report import markdown_table, rich_table, summarise
from supermasks.spec import describe

Make = Callable[..., dict[str, Any]]
FIGURE = {
    "what": "SupSup (GNu H), s = 100",
    "accuracy": 0.9365,
    "inference": describe(OneShot(Entropy())),
    "scoring": describe(FirstOfBatch()),
    "source": "SupSup, Table 3",
}


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_markdown_has_a_line_a_row_and_explains_itself(record: Make) -> None:
    runs = [record(0, 0.90, sequential=True), record(1, 0.92)]
    for run in runs:
        run["published"] = [FIGURE]
    lines = markdown_table(summarise(runs)).splitlines()
    table = [cells(line) for line in lines if line.startswith("|")]
    assert len(table) == 2 + 4
    assert len({len(line) for line in table}) == 1
    assert dict(zip(table[0], table[3], strict=True)) == {
        "Experiment": "permuted-mnist, 2 tasks (GNu)",
        "Data and training": "sample, 500 steps",
        "Network": "lenet-300-100, 100 outputs",
        "How the task is found": "one-shot by entropy, first of batch of 128",
        "Accuracy, %": "92.00 ± 1.41 (2 seeds)",
        "Right task found, %": "98.00",
        "Found by mean image, %": "75.00",
        "Paper's accuracy, %": "93.65 (SupSup, Table 3)",
        "Forgotten, points": "0.00",
        "Bytes a task (masks)": "500 (400)",
        "Seconds to learn a task": "2.5",
        "Seconds to test": "3.0",
    }
    assert table[5][4:] == ["76.00 (1 seed)", "–", "–", "–", "40.00", "–", "–", "–"]  # noqa: RUF001
    text = "\n".join(lines)
    assert "counts as wrong" in text
    assert "nearest mean training image" in text
    assert text.count("- SupSup, Table 3: SupSup (GNu H), s = 100") == 1


def test_nothing_forgotten_is_never_minus_zero(record: Make) -> None:
    run = record()
    run["accuracy"]["forgetting"] = -1e-9
    assert "-0.00" not in markdown_table(summarise([run]))


def test_the_terminal_shows_the_same_cells_in_fewer_columns(record: Make) -> None:
    rows = summarise([record()])
    table = rich_table(rows)
    lines = [line for line in markdown_table(rows).splitlines() if line.startswith("|")]
    whole = dict(zip(cells(lines[0]), cells(lines[3]), strict=True))
    shown = {str(column.header): str(list(column.cells)[1]) for column in table.columns}
    assert shown.items() <= whole.items()
    assert {"Experiment", "How the task is found", "Accuracy, %", "Forgotten, points"} <= shown.keys()
    out = io.StringIO()
    Console(file=out, width=250).print(table)
    assert "counts as wrong" in " ".join(out.getvalue().split())


@pytest.mark.parametrize("module", ["matplotlib", "rich.table"])
def test_a_missing_extra_says_how_to_install_it(module: str, elsewhere: Callable[..., str]) -> None:
    # In another process: modules that are imported again here would be others than those of the tests.
    code = """
import sys
sys.modules[sys.argv[1]] = None
from supermasks.errors import MissingExtraError
try:
    import supermasks.report
except MissingExtraError as error:
    print(error)
"""
    assert re.search(rf"{module}.*pip install 'supermasks\[cli\]'", elsewhere(code, module))
