"""Runs of experiments: what a record holds, and that a stopped run goes on as if it had not been stopped."""

import json
import shutil
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from supermasks.experiments.mnist import MNISTExperiment
from supermasks.experiments.runner import EVALUATED
from supermasks.experiments.split_images import SplitImages
from supermasks.experiments.watcher import Silent

from supermasks.bank import BankFolder
from supermasks.errors import ConfigError, DensityError, RunStateError
from supermasks.experiments import EXPERIMENTS, PermutedMNIST, RotatedMNIST, SplitMNIST, read_record, run
from supermasks.recipes import recognisable
from supermasks.spec import describe
from supermasks.workers import LocalProcesses

SMALL = PermutedMNIST(dataset="sample", tasks=3, steps=12, outputs=20, learning_rate=3e-3)


class StopAt(Silent):
    """Presses Ctrl-C at a step, counted over all tasks."""

    def __init__(self, step: int) -> None:
        self.left = step

    def step(self, done: int, total: int) -> None:
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "whole"
    run(SMALL, out, command=["supermasks", "run", "permuted-mnist"])
    return out


def test_a_record_holds_what_is_documented(finished: Path) -> None:
    record = read_record(finished)
    assert (record["experiment"], record["method"], record["scenario"]) == ("permuted-mnist", "SupSup", "GNu")
    assert (record["tasks"], record["seed"], record["command"]) == (3, 0, "supermasks run permuted-mnist")
    assert record["config"]["steps"] == 12
    assert record["versions"]["torch"] == torch.__version__
    assert record["accuracy"]["mean"] == pytest.approx(sum(record["accuracy"]["per_task"]) / 3)
    items = {"total", "masks", "owned", "dense", "norm", "other", "memory", "trunk", "packed", "entropy_bound", "paper"}
    assert set(record["bytes"]) == items
    assert set(record["seconds"]) >= {"train", "infer"}
    assert sum(record["growth"]["seconds"]) == pytest.approx(record["seconds"]["train"])
    files = sorted((finished / "bank" / "tasks").iterdir())
    assert record["growth"]["bytes"] == [file.stat().st_size for file in files]
    masks = [state.mask for state in BankFolder(finished / "bank").read()]
    shared = ((masks[0] | masks[1]) & masks[2]).count() / masks[2].count()
    assert record["overlap"]["sparse"][2] == pytest.approx(shared)
    assert record["peak_memory_bytes"] > 100e6
    assert record["baselines"]["mean_input_router"]["full_batch"] == 1.0
    assert [(e["objective"], e["scoring"]) for e in record["evaluations"]] == [
        ("H", "each-input"),
        ("H", "first-of-batch"),
        ("G", "first-of-batch"),
    ]


def test_accuracies_do_not_change_while_later_tasks_are_learned(finished: Path) -> None:
    matrix = read_record(finished)["accuracy"]["matrix"]
    assert [[entry is None for entry in row] for row in matrix] == [
        [False, True, True],
        [False, False, True],
        [False] * 3,
    ]
    assert matrix[0][0] == matrix[1][0] == matrix[2][0]
    assert matrix[1][1] == matrix[2][1]
    assert read_record(finished)["accuracy"]["forgetting"] == 0.0


def test_bytes_are_those_of_the_files(finished: Path) -> None:
    files = [file for file in (finished / "bank").rglob("*") if file.is_file()]
    record = read_record(finished)["bytes"]
    assert record["total"] == sum(file.stat().st_size for file in files)
    weights = 784 * 300 + 300 * 100 + 100 * 20
    assert record["packed"] == 3 * weights / 8
    assert 0.9 * record["packed"] < record["entropy_bound"] <= record["masks"] < 1.01 * record["entropy_bound"]
    assert record["total"] == record["masks"] + record["norm"] + record["other"]


@pytest.mark.parametrize("step", [1, 12, 13, 30])
def test_a_stopped_run_goes_on_to_the_same_bank(finished: Path, tmp_path: Path, step: int) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(SMALL, tmp_path / "run", watcher=StopAt(step))
    with pytest.raises(RunStateError, match="not finished"):
        read_record(tmp_path / "run")
    assert len(BankFolder(tmp_path / "run" / "bank").read()) == (step - 1) // 12
    run(SMALL, tmp_path / "run", resume=True)
    for file in sorted((finished / "bank" / "tasks").iterdir()):
        assert (tmp_path / "run" / "bank" / "tasks" / file.name).read_bytes() == file.read_bytes()
    ours, theirs = read_record(tmp_path / "run"), read_record(finished)
    assert ours["accuracy"] == theirs["accuracy"]


def test_a_run_that_lost_its_log_between_bank_and_log_goes_on(finished: Path, tmp_path: Path) -> None:
    # The bank is written before the log: a kill in between leaves a task that the log does not know.
    with pytest.raises(KeyboardInterrupt):
        run(SMALL, tmp_path / "run", watcher=StopAt(13))
    (tmp_path / "run" / "learned.jsonl").unlink()
    run(SMALL, tmp_path / "run", resume=True)
    assert read_record(tmp_path / "run")["accuracy"] == read_record(finished)["accuracy"]


def test_a_folder_with_a_run_is_not_touched_without_being_asked(finished: Path) -> None:
    before = {file: file.read_bytes() for file in finished.rglob("*") if file.is_file()}
    with pytest.raises(RunStateError, match="--resume"):
        run(SMALL, finished)
    with pytest.raises(RunStateError, match="steps was 12, now 13"):
        run(replace(SMALL, steps=13), finished, resume=True)
    assert before == {file: file.read_bytes() for file in finished.rglob("*") if file.is_file()}


def test_resuming_a_finished_run_learns_nothing_again(finished: Path) -> None:
    before = read_record(finished)["accuracy"]
    run(SMALL, finished, resume=True, watcher=StopAt(1))
    assert read_record(finished)["accuracy"] == before


def test_given_tasks_are_scored_without_inference(tmp_path: Path) -> None:
    record = run(SplitMNIST(dataset="sample", steps=30, learning_rate=3e-3), tmp_path / "run").record
    assert record["scenario"] == "GG"
    assert record["task_identification"] is None
    assert record["evaluations"] == []
    assert record["accuracy"]["mean"] == record["accuracy"]["task_given"] > 0.9


def test_full_batches_are_found_by_binary(tmp_path: Path) -> None:
    config = RotatedMNIST(dataset="sample", tasks=2, steps=20, net="lenet-300-100", outputs=20, learning_rate=3e-3)
    record = run(config, tmp_path / "run").record
    assert [(e["inference"], e["scoring"]) for e in record["evaluations"]] == [("binary", "full-batch")]


def test_published_figures_belong_to_the_exact_settings_only() -> None:
    assert [figure.accuracy for figure in PermutedMNIST().published()] == [0.9365, 0.9369]
    assert [figure.accuracy for figure in PermutedMNIST(net="fc-1024-1024").published()] == [0.9628, 0.9628]
    assert [figure.accuracy for figure in RotatedMNIST(seed=3).published()] == [0.9613]
    for changed in (
        PermutedMNIST(tasks=11),
        PermutedMNIST(schedule="cosine"),
        PermutedMNIST(steps=10),
        PermutedMNIST(dataset="sample"),
        RotatedMNIST(steps=9),
    ):
        assert changed.published() == []


BAD = {
    MNISTExperiment: ({"tasks": 0}, {"steps": 0}, {"seed": -1}, {"outputs": 1}),
    SplitImages: ({"tasks": 0}, {"tasks": 3}, {"epochs": 0}, {"seed": -1}, {"train_images": 10**9}, {"warmup": 1.0}),
}


@pytest.mark.parametrize("name", [name for name, kind in EXPERIMENTS.items() if issubclass(kind, tuple(BAD))])
def test_bad_settings_fail_before_anything_is_written(name: str, tmp_path: Path) -> None:
    kind = EXPERIMENTS[name]
    usual = {"net": "lenet-5"} if issubclass(kind, SplitImages) else {}
    for settings in next(bad for base, bad in BAD.items() if issubclass(kind, base)):
        with pytest.raises(ConfigError):
            run(kind(dataset="sample", **{"tasks": 2, **usual, **settings}), tmp_path / "run")
        assert not (tmp_path / "run").exists()


def test_objective_g_needs_superfluous_neurons(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="superfluous"):
        run(replace(SMALL, outputs=10), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_bank_that_lost_tasks_is_not_resumed(finished: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(finished, tmp_path / "run"))
    shutil.rmtree(copy / "bank")
    with pytest.raises(RunStateError, match="does not hold"):
        run(SMALL, copy, resume=True)


def test_parts_of_a_run_are_not_taken_for_another(finished: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(finished, tmp_path / "run"))
    (copy / "run.json").unlink()
    for resume in (False, True):
        with pytest.raises(RunStateError, match="parts of a run"):
            run(replace(SMALL, steps=13), copy, resume=resume)


@pytest.mark.parametrize("name", ["run.json", "learned.jsonl", "evaluated.jsonl"])
def test_a_damaged_file_of_a_run_is_named(finished: Path, tmp_path: Path, name: str) -> None:
    copy = Path(shutil.copytree(finished, tmp_path / "run"))
    (copy / name).write_text((copy / name).read_text()[9:])
    with pytest.raises(RunStateError, match=name):
        run(SMALL, copy, resume=True)


@pytest.mark.parametrize("name", ["learned.jsonl", "evaluated.jsonl"])
def test_a_line_that_a_killed_process_did_not_finish_is_made_anew(finished: Path, tmp_path: Path, name: str) -> None:
    copy = Path(shutil.copytree(finished, tmp_path / "run"))
    whole = (copy / name).read_text()
    (copy / name).write_text(whole[:-9])
    (copy / "record.json").unlink()
    run(SMALL, copy, resume=True)
    assert [json.loads(line).keys() for line in (copy / name).read_text().splitlines()] == [
        json.loads(line).keys() for line in whole.splitlines()
    ]
    assert read_record(copy)["accuracy"] == read_record(finished)["accuracy"]


def test_tasks_that_workers_learned_are_those_of_one_after_the_other(finished: Path, tmp_path: Path) -> None:
    run(SMALL, tmp_path / "run", workers=LocalProcesses(2))
    for file in sorted((finished / "bank" / "tasks").iterdir()):
        assert (tmp_path / "run" / "bank" / "tasks" / file.name).read_bytes() == file.read_bytes()
    ours, theirs = read_record(tmp_path / "run"), read_record(finished)
    assert ours["accuracy"] == theirs["accuracy"]
    assert ours["workers"]["count"] == 2
    assert theirs["workers"] is None
    assert without_seconds(ours["evaluations"]) == without_seconds(theirs["evaluations"])


def without_seconds(evaluations: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in found.items() if key != "seconds"} for found in evaluations]


@pytest.mark.parametrize("share_files", [True, False])
def test_workers_recognise_tasks_where_they_can_read_the_bank(
    share_files: bool, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = dict[str, int]()

    class Here(LocalProcesses):
        def run(self, job: Callable[[int], Any], numbers: Sequence[int]) -> Generator[tuple[int, Any]]:
            asked[type(job).__name__] = len(numbers)
            yield from ((number, job(number)) for number in reversed(numbers))

    monkeypatch.setattr(Here, "share_files", share_files)
    shutil.copytree(finished, tmp_path / "run")
    (tmp_path / "run" / EVALUATED).unlink()
    run(SMALL, tmp_path / "run", resume=True, workers=Here(2))
    wanted = 3 * len(SMALL.evaluations())
    assert asked.get("Recognise") == (wanted if share_files else None)
    ours, theirs = read_record(tmp_path / "run"), read_record(finished)
    assert without_seconds(ours["evaluations"]) == without_seconds(theirs["evaluations"])
    assert len((tmp_path / "run" / EVALUATED).read_text().splitlines()) == wanted


def test_of_many_tasks_all_are_evaluated_at_checkpoints_only(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("supermasks.experiments.runner.EVERY_ROW", 2)
    monkeypatch.setattr(PermutedMNIST, "checkpoints", lambda self: [1, 3])
    run(SMALL, tmp_path / "run")
    ours, theirs = read_record(tmp_path / "run"), read_record(finished)
    assert ours["accuracy"]["matrix"] is None
    for same in ("mean", "per_task", "task_given", "given_per_task", "forgetting", "backward_transfer"):
        assert ours["accuracy"][same] == theirs["accuracy"][same]
    so_far = theirs["accuracy"]["so_far"]
    assert ours["accuracy"]["so_far"] == [so_far[0], None, so_far[2]]
    assert [[row["tasks"] for row in found["among"]] for found in ours["evaluations"]] == [[1, 3]] * 3
    for one, other in zip(ours["evaluations"], theirs["evaluations"], strict=True):
        assert one["among"][-1] == other["among"][-1]
        assert one["among"][-1]["accuracy"] == one["accuracy"] == other["accuracy"]


def test_a_calibrated_learner_is_shown_images_of_no_task(tmp_path: Path) -> None:
    # Unpermuted images are of none of the permuted tasks; once permuted as a task is, they are of that task.
    shown = replace(SMALL, tasks=6, steps=150, learning_rate=3e-4, outputs=40, foreign="sample")
    run(shown, tmp_path / "run")
    found = read_record(tmp_path / "run")["foreign"]
    assert found["images"] == 2000
    assert found["known_called_unknown"] == pytest.approx(found["level"], abs=0.015)
    assert found["task_identification"] > 0.95
    assert found["confidence"] == pytest.approx(found["task_identification"], abs=0.03)
    assert found["foreign_auroc"] > 0.9
    assert found["foreign_called_unknown"] > 0.3
    assert found["disguised_auroc"] == pytest.approx(0.5, abs=0.06)
    assert found["disguised_called_unknown"] == pytest.approx(found["level"], abs=0.015)
    with pytest.raises(ConfigError, match="3 tasks at least"):
        replace(shown, tasks=2)


def test_at_checkpoints_some_images_are_judged_and_at_the_end_all(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PermutedMNIST, "checkpoints", lambda self: [2, 3])
    shutil.copytree(finished, tmp_path / "run")
    (tmp_path / "run" / EVALUATED).unlink()
    (tmp_path / "run" / "run.json").unlink()
    some = replace(SMALL, checkpoint_images=40)
    (tmp_path / "run" / "run.json").write_text(json.dumps(describe(some)))
    run(some, tmp_path / "run", resume=True)
    ours, theirs = read_record(tmp_path / "run"), read_record(finished)
    for one, other in zip(ours["evaluations"], theirs["evaluations"], strict=True):
        assert one["among"][-1] == other["among"][-1]
        right = 2 * 40 * one["among"][0]["accuracy"]  # of 40 images each
        assert right == pytest.approx(round(right))
        assert one["among"][0]["accuracy"] == pytest.approx(other["among"][-1]["accuracy"], abs=0.35)
    with pytest.raises(ConfigError, match="at least 1 image"):
        replace(SMALL, checkpoint_images=0)


def test_a_density_that_keeps_nothing_fails_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(DensityError):
        run(replace(SMALL, density=1e-5), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_record_of_another_schema_is_refused(tmp_path: Path) -> None:
    (tmp_path / "record.json").write_text(json.dumps({"schema": 99}))
    with pytest.raises(RunStateError, match="schema"):
        read_record(tmp_path)


def test_the_paper_has_figures_for_its_checkpoints() -> None:
    def figures(**settings: object) -> list[float]:
        return [figure.accuracy for figure in replace(PermutedMNIST(), **settings).published()]  # pyright: ignore

    assert figures(tasks=250) == [0.9362, 0.9363]
    assert figures(tasks=2500, outputs=500, exact=False) == [0.9345, 0.9345]
    assert figures(tasks=50, net="fc-1024-1024", outputs=200) == [0.9614, 0.9619]
    assert figures(tasks=11) == figures(tasks=2500) == figures(tasks=250, recipe="recognisable") == []


def test_the_recipe_settles_training_and_inference(tmp_path: Path) -> None:
    small = PermutedMNIST(
        dataset="sample", tasks=3, steps=12, outputs=20, recipe="recognisable", scoring="first-of-batch"
    )
    finished = run(small, tmp_path / "run")
    assert finished.record["method"] == "Diluted"
    assert [(row["objective"], row["scoring"]) for row in finished.record["evaluations"]] == [("G", "first-of-batch")]
    assert finished.learner.inference == recognisable()["inference"]
    assert finished.learner.training == recognisable(steps=12)["training"]
    assert small.title == "permuted-mnist-lenet-300-100-recognisable-seed0"
    assert replace(small, exact=False).task_inference("G") == recognisable(exact=False)["inference"]
    for settled in ({"learning_rate": 1e-3}, {"objective": "G"}, {"shared_scores": True}, {"centred": True}):
        with pytest.raises(ConfigError, match="leave these out"):
            replace(small, **settled)


@pytest.mark.parametrize(
    "inference", ["top-gamma", pytest.param("gradient-descent", marks=pytest.mark.nightly), "two-shot"]
)
def test_every_inference_can_be_run(finished: Path, tmp_path: Path, inference: str) -> None:
    copy = Path(shutil.copytree(finished, tmp_path / "run"))
    (copy / "evaluated.jsonl").unlink()
    gamma = 0.4 if inference == "top-gamma" else 0.25
    settings = replace(SMALL, inference=inference, gamma=gamma, scoring="first-of-batch")  # pyright: ignore
    config = json.loads((copy / "run.json").read_text())
    (copy / "run.json").write_text(
        json.dumps({**config, "inference": inference, "gamma": gamma, "scoring": "first-of-batch"})
    )
    record = run(settings, copy, resume=True).record
    assert [row["inference"] for row in record["evaluations"]] == [inference] * 2


def test_a_run_of_an_older_version_goes_on_with_the_defaults_of_new_settings(finished: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(finished, tmp_path / "run"))
    config = json.loads((copy / "run.json").read_text())
    del config["centred"], config["recipe"]
    (copy / "run.json").write_text(json.dumps(config))
    run(SMALL, copy, resume=True)
    with pytest.raises(RunStateError, match="centred was False, now True"):
        run(replace(SMALL, centred=True), copy, resume=True)
