"""A table at a tiny scale, on the embedded images: it is resumed, rows share runs, and what is left out says why."""

from dataclasses import replace
from pathlib import Path

import pytest
from small_experiments import split

from supermasks.errors import DataUnavailableError
from supermasks.experiments import Experiment, Silent
from supermasks.experiments.presets.text_sequences import EXSSNET as TEXT
from supermasks.experiments.tasks.held_out import HeldOut
from supermasks.experiments.tasks.text_sequence import TextSequence
from supermasks.experiments.tasks.text_sets import TextSets
from supermasks.papers import PAPERS, Row, Scale, Table, Value, run_table
from supermasks.papers.measures import Accuracy, Forgetting, Overlap, PaperBytes
from supermasks.papers.running import folder_name
from supermasks.papers.scale import differences

TINY = Scale(tasks=2, steps=4, epochs=0.3, examples=100)
SMALL = split(tasks=5)
TABLE = Table(
    "99",
    "Small networks",
    (
        Row("SupSup", (Value(Accuracy(), 90.0), Value(PaperBytes(), 1000)), SMALL),
        Row("the same", (Value(Overlap(), 20.0),), SMALL),
        Row("individual", (Value(Accuracy(), 95.0), Value(Forgetting(), 0.0)), split("individual"), differs="smaller"),
        Row("PSP", (Value(Accuracy(), 50.0),), missing="needs PSP, not built yet"),
        Row("texts", (Value(Accuracy(), 50.0),), TEXT),
    ),
    needs="nothing",
)


@pytest.fixture(autouse=True)
def nothing_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUPERMASKS_DATA", str(tmp_path / "none"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "none"))


class StopAt(Silent):
    """Presses Ctrl-C at a step, counted over all runs."""

    def __init__(self, step: int) -> None:
        self.left = step

    def step(self, done: int, total: int) -> None:
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


def test_a_table_runs_what_it_can_and_is_resumed(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_table(TABLE, tmp_path / "stopped", scale=TINY, watcher=StopAt(2))
    assert not list((tmp_path / "stopped").rglob("record.json"))
    results = run_table(TABLE, tmp_path / "stopped", scale=TINY)
    whole = run_table(TABLE, tmp_path / "whole", scale=TINY)
    assert [result.record is None for result in results] == [False, False, False, True, True]
    for ours, theirs in zip(results, whole, strict=True):
        if ours.record is not None and theirs.record is not None:
            assert ours.record["accuracy"] == theirs.record["accuracy"]
            assert ours.record["tasks"] == 2
            assert all(value.measure.of(ours.record) is not None for value in ours.row.values)
    assert len(list((tmp_path / "whole").rglob("record.json"))) == 2
    assert results[0].differs == (
        "tasks: 2 instead of 5",
        "training examples: 100 instead of 400",
        "epochs: 0.3 instead of 1",
    )
    assert results[2].differs[0] == "smaller"
    assert results[3].reason == "needs PSP, not built yet"
    assert "ag and yelp" in results[4].reason


def test_a_finished_run_is_not_made_again(tmp_path: Path) -> None:
    run_table(TABLE, tmp_path, scale=TINY)
    run_table(TABLE, tmp_path, scale=TINY, watcher=StopAt(1))
    other = run_table(replace(TABLE, rows=TABLE.rows[:1]), tmp_path, scale=TINY, seed=1)
    assert other[0].record is not None
    assert other[0].record["seed"] == 1
    assert len(list(tmp_path.rglob("record.json"))) == 3


EXPERIMENTS = {
    (row.experiment.tasks, row.experiment.net, row.experiment.training): row.experiment
    for paper in PAPERS.values()
    for table in paper.tables
    for row in table.rows
    if row.experiment is not None
}


@pytest.mark.parametrize("experiment", EXPERIMENTS.values(), ids=lambda experiment: experiment.title)
def test_every_experiment_of_the_papers_has_a_small_version_or_lacks_data(experiment: Experiment) -> None:
    source = experiment.tasks.source if isinstance(experiment.tasks, HeldOut) else experiment.tasks
    if isinstance(source, TextSequence | TextSets):
        with pytest.raises(DataUnavailableError, match="not at hand"):
            Scale().small(experiment, None)
        return
    small, said = Scale().small(experiment, None)
    assert small.tasks.count <= max(5, Scale().tasks)
    assert (small.training.epochs or 0) <= 2
    assert (small.training.steps or 0) <= 300
    assert "data: sample instead of" in said[0]
    assert small.way == experiment.way
    assert len(small.stream()) == small.tasks.count


def test_what_differs_is_said() -> None:
    assert differences(SMALL, SMALL) == []
    assert differences(SMALL, split(tasks=2, epochs=3)) == ["tasks: 2 instead of 5", "epochs: 3 instead of 1"]


def test_folders_tell_all_settings_apart() -> None:
    names = {folder_name(one) for one in (SMALL, split(tasks=2), split(batch_size=7), replace(SMALL, seed=1))}
    assert len(names) == 4
