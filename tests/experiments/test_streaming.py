"""Experiments without task labels: run, stopped and resumed, and what cannot be run."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from small_experiments import changed

from supermasks import Learner
from supermasks.errors import ConfigError, RunStateError
from supermasks.evaluation import EachInput
from supermasks.experiments import EXPERIMENTS, Experiment, Silent, run
from supermasks.experiments.architectures.fully_connected import LeNet300
from supermasks.experiments.evaluations import By, TaskUnknown
from supermasks.experiments.running import streaming
from supermasks.inference import Binary, Entropy
from supermasks.report import write_report
from supermasks.streams import LossJump
from supermasks.training import RMSprop
from supermasks.workers import LocalProcesses


def permuted(**settings: Any) -> Experiment:
    usual = {
        "dataset": "sample",
        "tasks": 3,
        "steps": 40,
        "net": LeNet300(40),
        "optimiser": RMSprop(3e-3),
        "novelty": LossJump(),
    }
    return changed(EXPERIMENTS["permuted-mnist"].of(scenario="nns"), **{**usual, **settings})


def test_a_stream_is_run_and_recorded(tmp_path: Path) -> None:
    record = run(permuted(further=(By(Entropy(), EachInput()),)), tmp_path).record
    stream = record["stream"]
    assert record["scenario"] == "NNs"
    assert stream["opened"] == 3
    assert stream["masks"] == ["task-0000", "task-0001", "task-0002"]
    assert [line["new"] for line in stream["visits"]] == [[0], [40], [80]]
    assert [line["batches"] for line in stream["visits"]] == [40, 40, 40]
    assert record["accuracy"]["mean"] > 0.7
    assert record["task_identification"] > 0.9
    assert len(record["evaluations"]) == 2
    assert record["accuracy"]["forgetting"] == 0.0
    report = write_report([tmp_path], tmp_path / "report")
    assert "stream.png" in report.read_text()
    assert (tmp_path / "report" / "stream.png").stat().st_size > 10_000


def test_lengths_and_rounds(tmp_path: Path) -> None:
    experiment = permuted(shortest=25, longest=60, rounds=2)
    record = run(experiment, tmp_path).record
    batches = [line["batches"] for line in record["stream"]["visits"]]
    assert len(set(batches)) > 1
    assert all(25 <= count <= 60 for count in batches)
    assert [line["index"] for line in record["stream"]["visits"]] == [0, 1, 2, 0, 1, 2]
    assert record["stream"]["opened"] == 3


class Stopped(Silent):
    """Stops a run when so many of its parts are done."""

    def __init__(self, after: int) -> None:
        self.left = after

    def advance(self, detail: str) -> None:
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


@pytest.mark.parametrize("after", [1, 2, 3, 5])
def test_a_stopped_run_is_resumed_with_the_same_numbers(
    after: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming, "CHECKPOINT_SECONDS", 0.0)
    whole = run(permuted(), tmp_path / "whole").record
    with pytest.raises(KeyboardInterrupt):
        run(permuted(), tmp_path / "stopped", watcher=Stopped(after))
    resumed = run(permuted(), tmp_path / "stopped", resume=True).record
    for record in (whole, resumed):
        for line in record["stream"]["visits"]:
            line.pop("seconds")
    assert resumed["stream"] == whole["stream"]
    assert resumed["accuracy"] == whole["accuracy"]
    tasks = permuted().stream()
    module = permuted().net.module(tasks)
    ours, theirs = (Learner.load(tmp_path / name / "bank", module).bank for name in ("stopped", "whole"))
    assert [state.mask for state in ours] == [state.mask for state in theirs]


def test_damaged_visits_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "CHECKPOINT_SECONDS", 0.0)
    with pytest.raises(KeyboardInterrupt):
        run(permuted(steps=4), tmp_path, watcher=Stopped(3))
    file = tmp_path / "visits.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert len(lines) == 3
    first = {**lines[0], "loss": lines[0]["loss"] + 1}
    unsigned = {key: value for key, value in lines[0].items() if key != "sha"}
    some: list[tuple[list[Any], str]] = [
        ([first, *lines[1:]], "line 1: its digest"),
        ([{**unsigned, "masks": {}}, *lines[1:]], "line 1: masks should be"),
        ([{**unsigned, "accuracy": 2}, *lines[1:]], "line 1: accuracy should be"),
        ([None, *lines[1:]], "line 1: a row should be"),
        (lines[1:], "a visit is missing"),
        ([], "a visit is missing"),
    ]
    for rows, words in some:
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        with pytest.raises(RunStateError, match=rf"visits\.jsonl is damaged: {words}.*; restore it, or start anew"):
            run(permuted(steps=4), tmp_path, resume=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in (unsigned, *lines[1:])))
    record = run(permuted(steps=4), tmp_path, resume=True).record
    assert [line["batches"] for line in record["stream"]["visits"]] == [4, 4, 4]
    assert all("sha" not in line for line in record["stream"]["visits"])
    assert all("sha" in json.loads(line) for line in file.read_text().splitlines())


def test_drifting_digits(tmp_path: Path) -> None:
    experiment = changed(
        EXPERIMENTS["drifting-mnist"].of(),
        dataset="sample",
        tasks=6,
        degrees=30.0,
        first=40,
        net=LeNet300(40),
        optimiser=RMSprop(3e-3),
    )
    record = run(experiment, tmp_path).record
    assert [line["batches"] for line in record["stream"]["visits"]] == [40, 1, 1, 1, 1, 1]
    assert record["stream"]["opened"] >= 1
    assert json.loads((tmp_path / "record.json").read_text())["experiment"] == "drifting-mnist"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"shortest": 10}, "both shortest and longest"),
        ({"rounds": 0}, "at least 1 round"),
        ({"first": 0}, "first must be"),
        ({"judged_inputs": 0}, "judged_inputs"),
        ({"inference": Binary(), "further": (By(Entropy(), EachInput()),)}, None),
    ],
)
def test_settings_out_of_range(settings: dict[str, Any], words: str | None) -> None:
    if words is None:
        assert len(TaskUnknown(**settings).found()) == 2
        return
    with pytest.raises(ConfigError, match=words):
        TaskUnknown(**settings)


def test_what_cannot_be_streamed(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="workers"):
        run(permuted(), tmp_path / "a", workers=LocalProcesses(1))
    with pytest.raises(ConfigError, match="do not build on each other"):
        run(replace(permuted(), way=EXPERIMENTS["permuted-mnist"].of("exssnet").way), tmp_path / "b")
    with pytest.raises(ConfigError, match="scenario of rotated-mnist"):
        EXPERIMENTS["rotated-mnist"].of(scenario="nns")
    with pytest.raises(ConfigError, match="scenario of permuted-mnist"):
        EXPERIMENTS["permuted-mnist"].of(scenario="gg")
    assert not list(tmp_path.iterdir())  # nothing was begun
