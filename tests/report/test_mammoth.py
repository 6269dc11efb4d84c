"""Results as lines of JSON with Mammoth's keys, against the numbers of the record."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_experiments import permuted, split

from supermasks.experiments import run
from supermasks.report import read_runs, write_mammoth

RESULTS = Path(__file__).parent.parent.parent / "results"


def test_the_task_given_and_unknown(tmp_path: Path) -> None:
    record = run(permuted(), tmp_path / "run").record
    files = write_mammoth([tmp_path / "run"], tmp_path / "out")
    given, inferred = files
    assert given == tmp_path / "out" / "task-il" / "permuted-mnist-sample" / "supsup" / "logs.jsonl"
    assert inferred == tmp_path / "out" / "class-il" / "permuted-mnist-sample" / "supsup" / "logs.jsonl"
    (line,) = map(json.loads, given.read_text().splitlines())
    matrix = record["accuracy"]["matrix"]
    for after in range(3):
        for task in range(after + 1):
            assert line[f"accuracy_{task + 1}_task{after + 1}"] == pytest.approx(100 * matrix[after][task])
        mean = sum(matrix[after][: after + 1]) / (after + 1)
        assert line[f"accmean_task{after + 1}"] == pytest.approx(100 * mean)
    assert line["forgetting"] == pytest.approx(100 * record["accuracy"]["forgetting"])
    assert (line["dataset"], line["model"], line["seed"], line["n_tasks"]) == ("permuted-mnist-sample", "supsup", 0, 3)
    (line,) = map(json.loads, inferred.read_text().splitlines())
    assert line["accmean_task3"] == pytest.approx(100 * record["accuracy"]["mean"])
    assert "accmean_task2" not in line
    assert line["forgetting"] is None


def test_runs_of_one_way_are_lines_of_one_file(tmp_path: Path) -> None:
    for seed in (0, 1):
        run(split(seed=seed, tasks=2), tmp_path / f"run-{seed}")
    (file,) = write_mammoth([tmp_path / "run-0", tmp_path / "run-1"], tmp_path / "out")
    assert [json.loads(line)["seed"] for line in file.read_text().splitlines()] == [0, 1]


@pytest.mark.parametrize(
    ("experiment", "dataset", "name"),
    [
        ("permuted-mnist", "mnist", "perm-mnist"),
        ("permuted-mnist", "fashion-mnist", "permuted-mnist-fashion-mnist"),
        ("rotated-mnist", "mnist", "rot-mnist"),
        ("split-mnist", "mnist", "seq-mnist"),
        ("split-cifar10", "cifar10", "seq-cifar10"),
        ("split-cifar", "cifar10", "split-cifar-cifar10"),  # its classes are drawn at random, unlike Mammoth's
        ("drifting-mnist", "mnist", "drifting-mnist"),
        ("mixed", "mnist+cifar10", "mixed-mnist+cifar10"),
    ],
)
def test_each_benchmark_has_a_file_of_its_own(
    tmp_path: Path, record: Callable[..., dict[str, Any]], experiment: str, dataset: str, name: str
) -> None:
    for folder, each in (("this", experiment), ("other", "tenants")):
        (tmp_path / folder).mkdir()
        content = {**record(), "experiment": each, "dataset": dataset}
        (tmp_path / folder / "record.json").write_text(json.dumps(content))
    files = write_mammoth([tmp_path / "this", tmp_path / "other"], tmp_path / "out")
    lines = {file.parts[-3]: [json.loads(line) for line in file.read_text().splitlines()] for file in files}
    assert {folder: [line["dataset"] for line in of] for folder, of in lines.items()} == {
        name: [name],
        f"tenants-{dataset}": [f"tenants-{dataset}"],
    }


def test_a_copy_of_a_run_is_one_line(tmp_path: Path) -> None:
    run(split(tasks=2), tmp_path / "run")
    shutil.copytree(tmp_path / "run", tmp_path / "copy")
    again = json.loads((tmp_path / "run" / "record.json").read_text())
    (tmp_path / "again").mkdir()  # not the same: it took longer
    (tmp_path / "again" / "record.json").write_text(json.dumps({**again, "seconds": {**again["seconds"], "train": 99}}))
    (file,) = write_mammoth([tmp_path / name for name in ("run", "copy", "again")], tmp_path / "out")
    assert len(file.read_text().splitlines()) == 2


def test_all_results_of_this_project_can_be_written(tmp_path: Path) -> None:
    files = write_mammoth([RESULTS], tmp_path)
    lines = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    records = read_runs([RESULTS])
    assert len(lines) == len(records) + sum(bool(record["evaluations"]) for record in records.values())
    assert all(0 <= line[f"accmean_task{line['n_tasks']}"] <= 100 for line in lines)


def test_long_names_that_begin_alike_have_files_of_their_own(tmp_path: Path) -> None:
    run(split(tasks=2), tmp_path / "run")
    record = json.loads((tmp_path / "run" / "record.json").read_text())
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "record.json").write_text(json.dumps({**record, "dataset": "long" * 80 + name}))
    assert len(write_mammoth([tmp_path / "a", tmp_path / "b"], tmp_path / "out")) == 2


@pytest.mark.parametrize(
    "name",
    ["../../out", "/tmp/evil", "..", ".", "", "a\\b", "a/../../b", "C:\\x", "nul\0", "übung", "+ü" * 200],
)
def test_a_record_of_somebody_else_cannot_choose_where_files_go(tmp_path: Path, name: str) -> None:
    """Each name in a record is the name of one folder."""
    run(split(tasks=2), tmp_path / "run")
    file = tmp_path / "run" / "record.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "way": name, "dataset": name, "experiment": name}))
    (written,) = write_mammoth([file], tmp_path / "out")
    assert written.resolve().relative_to((tmp_path / "out").resolve()).parts[0] == "task-il"
    assert len(written.relative_to(tmp_path / "out").parts) == 4
    assert {path.name for path in tmp_path.iterdir()} == {"run", "out"}
