import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from supermasks.errors import RunStateError
from supermasks.experiments.running.record import write_record
from supermasks.report import read_runs, write_html, write_mammoth, write_report

Make = Callable[..., dict[str, Any]]


@pytest.fixture
def put(record: Make, tmp_path: Path) -> Callable[..., Path]:
    """Write a record into a folder of that name: `put("runs/a", seed=1)`."""

    def make(name: str, **settings: Any) -> Path:
        folder = tmp_path / name
        folder.mkdir(parents=True)
        write_record(folder, record(**settings))
        return folder

    return make


def links(report: Path) -> list[str]:
    return re.findall(r"!\[[^]]+\]\(<([^>]+)>\)", report.read_text(encoding="utf-8"))


def test_a_single_run_has_its_pictures_beside_the_report(put: Callable[..., Path], tmp_path: Path) -> None:
    report = write_report([put("demo", sequential=True)], tmp_path / "out")
    assert report == tmp_path / "out" / "report.md"
    assert links(report) == ["comparison.png", "accuracy.png", "forgetting.png", "bytes.png"]
    assert all((report.parent / link).is_file() for link in links(report))
    text = report.read_text(encoding="utf-8")
    assert "## demo" in text
    assert "    supermasks demo" in text
    assert "optimiser=RMSprop(0.0002)" in text
    assert "torch 2.6" in text
    assert "| entropy bound of the masks, not a file | 750 | 375 |" in text
    assert str(tmp_path) not in text


def test_runs_are_found_in_folders_of_folders(put: Callable[..., Path], tmp_path: Path) -> None:
    put("runs/b", seed=1)
    put("runs/deep/a b", seed=2)
    report = write_report([tmp_path / "runs"], tmp_path / "out")
    assert re.findall(r"^## (.+)$", report.read_text(encoding="utf-8"), re.M) == ["b", "a b"]
    assert len(links(report)) == 1 + 2 * 3
    assert all((report.parent / link).is_file() for link in links(report))
    assert "(2 seeds)" in report.read_text(encoding="utf-8")


def test_runs_of_the_same_name_keep_their_pictures_apart(put: Callable[..., Path], tmp_path: Path) -> None:
    folders = [put("x/run"), put("y/run", seed=1)]
    report = write_report(folders, tmp_path / "out")
    assert re.findall(r"^## (.+)$", report.read_text(encoding="utf-8"), re.M) == ["x-run", "y-run"]
    assert len(set(links(report))) == 7


def test_a_run_named_twice_is_reported_once(put: Callable[..., Path], tmp_path: Path) -> None:
    folder = put("runs/a")
    report = write_report([folder, tmp_path / "runs", folder / "record.json"], tmp_path / "out")
    assert report.read_text(encoding="utf-8").count("\n## ") == 1


def test_a_run_without_a_command_has_no_empty_one(record: Make, tmp_path: Path) -> None:
    write_record(tmp_path, {**record(), "command": ""})
    assert "Command" not in write_report([tmp_path], tmp_path / "out").read_text(encoding="utf-8")


def test_a_folder_without_records_is_refused_and_nothing_is_written(put: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(RunStateError, match=r"no record\.json in .*empty"):
        write_report([put("a"), tmp_path / "empty"], tmp_path / "out")
    with pytest.raises(RunStateError, match=r"no record\.json in .*nowhere"):
        write_report([tmp_path / "nowhere"], tmp_path / "out")
    with pytest.raises(RunStateError, match="at least one run"):
        write_report([], tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("wrong", [None, "x", -1, [], "left out"], ids=repr)
@pytest.mark.parametrize("what", ["config", "accuracy", "bytes", "seconds"])
def test_a_record_of_another_form_is_refused_by_name(
    put: Callable[..., Path], tmp_path: Path, what: str, wrong: object
) -> None:
    file = put("run") / "record.json"
    record = json.loads(file.read_text())
    record[what] = wrong
    if wrong == "left out":
        del record[what]
    file.write_text(json.dumps(record))
    with pytest.raises(RunStateError, match=re.escape(str(file))):
        read_runs([file.parent])


INNER = ["mean", "per_task", "matrix", "forgetting", "backward_transfer"]
OUTER = ["command", "task_identification", "way", "dataset", "net", "tasks", "evaluations", "versions"]
NOTHING = [[], [None, None], [float("nan")], [2.0], "high", {"a": 1}]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        *((("accuracy", name), "left out") for name in INNER),
        *(((name,), "left out") for name in OUTER),
        *((("accuracy", name), value) for name in ("per_task", "given_per_task", "so_far") for value in NOTHING),
        *((("accuracy", "matrix"), value) for value in ([[]], [[None]], [[float("nan")]], [0.5], "all")),
        *((("evaluations", 0, name), "left out") for name in ("per_task", "accuracy", "inference", "seconds")),
        *((("accuracy", "mean"), value) for value in (float("nan"), 5.0, -0.1)),
        *((("accuracy", name), [0.5]) for name in ("per_task", "given_per_task", "so_far")),
        (("accuracy", "matrix", 1), [0.5]),
        (("evaluations", 0, "per_task"), [0.5]),
        (("evaluations", 0, "accuracy"), 1.5),
        (("task_identification",), 2.0),
        (("bytes", "packed"), "x"),
        (("seconds", "infer"), None),
        *((("config", "training"), value) for value in ("x", [None])),
        (("config", "way", "type"), {}),
        (("seconds", "train"), float("inf")),
        (("evaluations", 0), None),
        *((("tasks",), value) for value in (0, 50)),
        (("tasks",), True),
    ],
    ids=repr,
)
def test_a_record_with_an_entry_of_another_form_is_refused_before_anything_is_written(
    put: Callable[..., Path], tmp_path: Path, path: tuple[str | int, ...], value: object
) -> None:
    file = put("run") / "record.json"
    record = json.loads(file.read_text())
    holder = record
    for step in path[:-1]:
        holder = holder[step]
    holder[path[-1]] = value
    if value == "left out":
        del holder[path[-1]]
    file.write_text(json.dumps(record))
    for write in (write_report, write_html, write_mammoth):
        with pytest.raises(RunStateError, match=re.escape(str(file))):
            write([file.parent], tmp_path / "report")
    assert not (tmp_path / "report").exists()
