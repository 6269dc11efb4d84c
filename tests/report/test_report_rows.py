"""Which runs are one row, and that no two rows look the same: in the table, on the terminal and in the picture."""

import io
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure
from rich.console import Console

from supermasks.experiments.running.record import write_record
from supermasks.inference import Binary, OneShot
from supermasks.masks import ER, TopK
from supermasks.report import markdown_table, plot_runs, read_runs, rich_table, summarise

Record = dict[str, Any]
Make = Callable[..., Record]

quietly = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


def looks(records: list[Record], folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """What tells rows apart in each of the three places where they are shown: all but the numbers."""
    rows = summarise(records)
    lines = [line.split(" | ")[:4] for line in markdown_table(rows).splitlines() if line.startswith("|")][2:]
    table = rich_table(rows)
    columns = [list(map(str, column.cells)) for column in table.columns][:4]
    labels: list[str] = []

    def keep(figure: Figure, path: Path) -> Path:
        labels.extend(label.get_text() for label in figure.axes[0].get_yticklabels())
        return path

    monkeypatch.setattr("supermasks.report.comparison.save", keep)
    plot_runs(records, folder)
    assert len(lines) == len(columns[0]) == len(labels) == len(rows)
    return {
        "table": [" | ".join(line) for line in lines],
        "terminal": [" | ".join(line) for line in zip(*columns, strict=True)],
        "picture": labels,
    }


def check_all_differ(records: list[Record], folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    shown = looks(records, folder, monkeypatch)
    for where, rows in shown.items():
        assert len(set(rows)) == len(rows), (where, rows)
    return shown


# Of pairs of runs that a table took for one, or showed as one.
PAIRS: dict[str, tuple[Record, Record]] = {
    "way": ({"way": "SupSupWay"}, {"way": "ExSSNeTWay"}),
    "epochs beside steps": ({"epochs": 3}, {"epochs": 4}),
    "epochs that differ by little": ({"epochs": 1.00000001}, {"epochs": 1.00000002}),
    "steps": ({"steps": 500}, {"steps": 501}),
    "a setting that one of them lacks": ({"own": 3}, {}),
    "a setting that one of them leaves open": ({"own": 3}, {"own": None}),
    "true and one": ({"own": True}, {"own": 1}),
    "the word for a number": ({"own": "1"}, {"own": 1}),
    "budgets": ({"rule": TopK(ER(8))}, {"rule": TopK(ER(16))}),
    "a density where there is a budget": ({"rule": TopK(0.1)}, {"rule": TopK(ER(8))}),
    "lists": ({"own": ["a", "b"]}, {"own": ["a", "c"]}),
    "a comma": ({"own": "1, other 2"}, {"own": "1", "other": 2}),
    "spaces": ({"own": "a b"}, {"own": "a  b"}),
    "the data": ({"dataset": "sample"}, {"dataset": "mnist"}),
    "the network": ({"net": "lenet-300-100"}, {"net": "fc-1024-1024"}),
    "a folder with a network": ({"net": "/models/a/encoder"}, {"net": "/models/b/encoder"}),
    "how a task would be found": ({"inference": Binary()}, {"inference": OneShot()}),
    "a hidden character": ({"own": "a"}, {"own": "a\u200b"}),
}


@pytest.mark.parametrize("experiment", ["permuted-mnist", "split-mnist", "of-somebody-else"])
@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
@pytest.mark.parametrize("task_given", [True, False])
def test_runs_that_differ_in_a_setting_are_rows_that_differ(
    pair: tuple[Record, Record],
    experiment: str,
    task_given: bool,
    record: Make,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runs = [record(seed, **config) for seed, config in enumerate(pair)]
    for run in runs:
        run["experiment"] = experiment
        run["evaluations"] = [] if task_given else run["evaluations"]
    assert {row.seeds for row in summarise(runs)} == {1}
    shown = check_all_differ(runs, tmp_path, monkeypatch)
    assert len(shown["table"]) == (2 if task_given else 6)


@pytest.mark.parametrize("key", ["experiment", "scenario", "method", "tasks"])
def test_what_a_record_says_beside_its_config_parts_rows_too(
    key: str, given: Record, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = {**given, "seed": 1, key: 3 if key == "tasks" else "another"}
    assert [row.seeds for row in summarise([given, other])] == [1, 1]
    check_all_differ([given, other], tmp_path, monkeypatch)


def test_equal_numbers_are_the_same_setting(record: Make) -> None:
    (row, *_) = summarise([record(0, own=[1, 2.5], steps=500), record(1, own=[1.0, 2.5], steps=500.0)])
    assert row.seeds == 2


NAMES = st.sampled_from(["way", "rule", "epochs", "inference", "own"])
VALUES = st.sampled_from([None, True, 0, 1, 1.0, 10, "1", "a", "a, own 1", [1], "none", "not set"])


@quietly
@given(st.lists(st.dictionaries(NAMES, VALUES), min_size=2, max_size=5))
def test_any_runs_are_pooled_by_their_seed_alone_and_look_different(given: Record, configs: list[Record]) -> None:
    """A run of each config, all with a seed of their own: as many rows as there are different configs."""
    runs = [{**given, "seed": seed, "config": {**given["config"], **config}} for seed, config in enumerate(configs)]
    rows = summarise(runs)
    different: list[Record] = []
    for run in runs:
        if not any(same(run["config"], other) for other in different):
            different.append(run["config"])
    assert len(rows) == len(different)
    assert sum(row.seeds for row in rows) == len(runs)
    for one, other in combinations(rows, 2):
        assert (one.training, one.how) != (other.training, other.how)


def same(one: Any, other: Any) -> bool:
    """Whether two configs are equal, a number being no truth value."""
    ours, theirs = one, other
    return ours == theirs and all(isinstance(ours[key], bool) == isinstance(theirs[key], bool) for key in ours)


@pytest.fixture
def put(record: Make, tmp_path: Path) -> Callable[..., Path]:
    def make(name: str, *arguments: Any, **config: Any) -> Path:
        folder = tmp_path / name
        folder.mkdir(parents=True)
        run = record(*arguments, **config)
        run["evaluations"] = []
        write_record(folder, run)
        return folder

    return make


def test_a_run_that_was_made_again_is_a_row_that_names_its_folder(
    put: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = [put("runs/first", 0, 0.9), put("runs/again", 0, 0.5)]
    records = list(read_runs(folders).values())
    rows = summarise(records)
    assert [(row.accuracy, row.training) for row in rows] == [
        (90, "500 steps, folder runs/first"),
        (50, "500 steps, folder runs/again"),
    ]
    check_all_differ(records, tmp_path, monkeypatch)


def test_where_seeds_were_run_again_those_of_a_folder_belong_together(put: Callable[..., Path]) -> None:
    folders = [put("x/run-1", 1, 0.90), put("y/run-0", 0, 0.50), put("y/run-1", 1, 0.70), put("x/run-0", 0, 0.80)]
    rows = summarise(read_runs(folders).values())
    assert [(round(row.accuracy), row.seeds) for row in rows] == [(85, 2), (60, 2)]
    assert [row.training for row in rows] == [
        "500 steps, folder x/run-1 and 1 more",
        "500 steps, folder y/run-0 and 1 more",
    ]


def test_a_copy_of_a_run_changes_nothing(put: Callable[..., Path]) -> None:
    folders = [put("run", 0, 0.9), put("copy", 0, 0.9)]
    assert [row.training for row in summarise(read_runs(folders).values())] == ["500 steps"]


def test_records_of_no_folder_are_told_apart_by_their_place(record: Make) -> None:
    rows = summarise([record(0, 0.9), record(0, 0.5)])
    assert [row.training for row in rows[::3]] == ["500 steps, run 1", "500 steps, run 2"]


def test_the_terminal_cuts_nothing_off(given: Record) -> None:
    """However narrow it is, and however long a word: letters go on in the next line."""
    given["dataset"] = "+".join(f"data-set-{number}" for number in range(20))
    out = io.StringIO()
    Console(file=out, width=100).print(rich_table(summarise([given])))
    lines = [line for line in out.getvalue().splitlines() if line.startswith("│")]
    column = "".join(line.split("│")[2].strip() for line in lines)
    assert given["dataset"].replace(" ", "") in column.replace(" ", "")
