from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread

from supermasks.evaluation import EachInput
from supermasks.experiments.running.record import write_record
from supermasks.inference import Entropy, OneShot
from supermasks.report import plot_record, plot_runs
from supermasks.report.style import decimals, percents, si_bytes
from supermasks.spec import describe

Record = dict[str, Any]
Make = Callable[..., Record]
NAMES = ["accuracy.png", "forgetting.png", "bytes.png"]
FIGURE = {
    "what": "SupSup",
    "accuracy": 0.9365,
    "inference": describe(OneShot(Entropy())),
    "scoring": describe(EachInput()),
    "source": "SupSup, Table 3",
}


def check_picture(path: Path) -> np.ndarray[Any, Any]:
    """A PNG of a size for a page, that neither is blank nor has ink at its edge, where something would be cut off."""
    assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    pixels = imread(path)[..., :3]
    height, width = pixels.shape[:2]
    assert 300 <= height <= 3000
    assert 600 <= width <= 3000
    assert pixels.var() > 1e-3
    edges = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    assert (edges == 1).mean() > 0.99
    return pixels


def with_tasks(run: Record, tasks: int) -> Record:
    """The same run with another number of tasks."""
    run["tasks"] = tasks
    run["accuracy"]["matrix"] = [[0.9 if j <= i else None for j in range(tasks)] for i in range(tasks)]
    for evaluation in run["evaluations"]:
        evaluation["per_task"] = [evaluation["accuracy"]] * tasks
    return run


def test_a_record_gives_three_pictures_in_a_new_folder(record: Make, tmp_path: Path) -> None:
    run = record(sequential=True)
    run["published"] = [FIGURE]
    paths = plot_record(run, tmp_path / "new" / "folder")
    assert paths == [tmp_path / "new" / "folder" / name for name in NAMES]
    for path in paths:
        check_picture(path)


def test_a_record_with_the_task_given_can_be_drawn(given: Record, tmp_path: Path) -> None:
    given["published"] = [{**FIGURE, "inference": None, "scoring": None}]
    for path in plot_record(given, tmp_path):
        check_picture(path)


@pytest.mark.parametrize("tasks", [1, 12, 60])
def test_any_number_of_tasks_can_be_drawn(record: Make, tmp_path: Path, tasks: int) -> None:
    for path in plot_record(with_tasks(record(), tasks), tmp_path):
        check_picture(path)


def test_what_more_tasks_cost_is_drawn_where_checkpoints_were_evaluated(record: Make, tmp_path: Path) -> None:
    run = with_tasks(record(), 60)
    run["accuracy"]["so_far"] = [0.93] * 60
    run["published"] = [FIGURE]
    assert "among.png" not in [path.name for path in plot_record(run, tmp_path)]
    for evaluation in run["evaluations"]:
        evaluation["among"] = [{"tasks": n, "accuracy": 0.9, "task_identification": 0.99} for n in (10, 50, 60)]
    (path,) = [path for path in plot_record(run, tmp_path) if path.name == "among.png"]
    high = check_picture(path)
    for evaluation in run["evaluations"]:
        evaluation["among"][-1]["task_identification"] = 0.5
    plot_record(run, tmp_path)
    assert (check_picture(path) != high).any()  # the right panel shows it


def test_what_each_task_costs_is_drawn_where_it_is_known(record: Make, tmp_path: Path) -> None:
    run = with_tasks(record(), 5)
    assert [path.name for path in plot_record(run, tmp_path / "old")] == NAMES
    run["growth"] = {"seconds": [1.0, 1.1, 0.9, 1.0, 1.2], "bytes": [5000, 4000, 3500, 3300, 3200]}
    run["overlap"] = {"sparse": [0.0, 0.1, 0.2, 0.3, 0.4], "sparse_mean": 0.2, "total": 0.3}
    paths = plot_record(run, tmp_path / "new")
    assert [path.name for path in paths] == [*NAMES, "growth.png"]
    check_picture(paths[-1])


def test_forgetting_is_seen_in_the_picture(record: Make, tmp_path: Path) -> None:
    """A cell of 55% is drawn in the dark half of the scale; without forgetting there is no such colour."""

    def dark(run: Record, folder: str) -> int:
        pixels = check_picture(plot_record(run, tmp_path / folder)[1])
        # The colour bar has dark pixels in both pictures; cells are far to the left of it.
        cells = pixels[:, : int(0.8 * pixels.shape[1])]
        red, green, blue = cells[..., 0], cells[..., 1], cells[..., 2]
        return int(((blue > green + 0.1) & (blue > red + 0.1)).sum())

    assert dark(record(), "kept") == 0
    assert dark(record(sequential=True), "lost") > 1000


def test_many_runs_give_one_picture_that_grows_with_its_rows(record: Make, given: Record, tmp_path: Path) -> None:
    runs = [record(seed, 0.9 + seed / 100, sequential=seed == 0) for seed in range(3)]
    for run in runs:
        run["published"] = [FIGURE]
    (path,) = plot_runs(runs, tmp_path / "few")
    assert path == tmp_path / "few" / "comparison.png"
    few = check_picture(path)
    (path,) = plot_runs([*runs, given, record(steps=1000)], tmp_path / "many")
    assert check_picture(path).shape[0] > few.shape[0]


def test_the_same_record_gives_the_same_bytes(record: Make, tmp_path: Path) -> None:
    first, second = (plot_record(record(), tmp_path / name) for name in "ab")
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_no_global_state_of_matplotlib_is_touched(record: Make, tmp_path: Path, elsewhere: Callable[..., str]) -> None:
    write_record(tmp_path, record())
    code = """
import sys
from pathlib import Path
import matplotlib
from supermasks.report import write_report
def settings():  # without the backend: to ask for it is to import pyplot
    return {key: matplotlib.rcParams[key] for key in matplotlib.rcParams if key != "backend"}
before = settings()
folder = Path(sys.argv[1])
write_report([folder], folder / "out")
print("matplotlib.pyplot" in sys.modules, settings() == before)
"""
    assert elsewhere(code, tmp_path) == "False True"


def test_without_records_nothing_is_drawn(tmp_path: Path) -> None:
    assert plot_runs([], tmp_path / "none") == []
    assert not (tmp_path / "none").exists()


def test_numbers_in_words() -> None:
    assert [si_bytes(count) for count in (0, 999, 1000, 1_500_000, 2e9)] == [
        "0 B",
        "999 B",
        "1.0 kB",
        "1.5 MB",
        "2.0 GB",
    ]
    assert (decimals(-0.0), decimals(-0.04), decimals(19.6), decimals(92.684, 2)) == ("0.0", "0.0", "19.6", "92.68")
    matrix = percents([[0.5, None], [0.25, 1.0]])
    np.testing.assert_array_equal(matrix, [[50, np.nan], [25, 100]])
