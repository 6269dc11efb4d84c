"""Runs of experiments: what a record holds, and that a stopped run is resumed as if it had not been stopped."""

import hashlib
import json
import shutil
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from pathlib import Path
from time import sleep
from typing import Any

import pytest
import torch
from small_experiments import changed, permuted, split

from supermasks.bank import BankFolder
from supermasks.errors import ConfigError, DensityError, RunStateError
from supermasks.evaluation import EachInput, FirstOfBatch, FullBatch
from supermasks.experiments import EXPERIMENTS, Silent, read_record, run, write_record
from supermasks.experiments.architectures.convolutional import LeNet5
from supermasks.experiments.architectures.fully_connected import LeNet300
from supermasks.experiments.running.run import EVALUATED
from supermasks.inference import Binary, Entropy, GradientDescent, OneShot, SuperfluousNeurons, TopGamma, TwoShot
from supermasks.masks import TopK
from supermasks.recipes import recognisable
from supermasks.router import LinearDiscriminant, RandomFeatures
from supermasks.spec import describe
from supermasks.training import Adam, RMSprop
from supermasks.workers import LocalProcesses

SMALL = permuted()
H, G = describe(OneShot(Entropy())), describe(OneShot(SuperfluousNeurons()))


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
    assert record["config"]["training"]["steps"] == 12
    assert (record["way"], record["net"], record["outputs"], record["dataset"]) == (
        "supsup",
        "lenet-300-100",
        20,
        "sample",
    )
    assert record["versions"]["torch"] == torch.__version__
    assert record["accuracy"]["mean"] == pytest.approx(sum(record["accuracy"]["per_task"]) / 3)
    items = {
        "total",
        "masks",
        "owned",
        "shared",
        "dense",
        "norm",
        "router",
        "other",
        "memory",
        "examples",
        "trunk",
        "packed",
        "entropy_bound",
        "paper",
    }
    assert set(record["bytes"]) == items
    assert set(record["seconds"]) >= {"train", "infer"}
    assert sum(record["growth"]["seconds"]) == pytest.approx(record["seconds"]["train"])
    assert record["growth"]["bytes"] == list(BankFolder(finished / "bank").task_sizes().values())
    assert len(record["growth"]["bytes"]) == 3
    masks = [state.mask for state in BankFolder(finished / "bank").read()]
    shared = ((masks[0] | masks[1]) & masks[2]).count() / masks[2].count()
    assert record["overlap"]["sparse"][2] == pytest.approx(shared)
    assert record["peak_memory_bytes"] > 100e6
    assert record["baselines"]["mean_input_router"]["full_batch"] == 1.0
    assert [(e["inference"], e["scoring"]) for e in record["evaluations"]] == [
        (H, describe(EachInput())),
        (H, describe(FirstOfBatch())),
        (G, describe(FirstOfBatch())),
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
    assert 0.9 * record["packed"] < record["entropy_bound"] <= record["packed"]
    assert 0.5 * record["entropy_bound"] < record["masks"] < 0.95 * record["entropy_bound"]
    assert record["total"] == record["masks"] + record["norm"] + record["other"]


def test_a_run_stores_what_its_router_counts(tmp_path: Path) -> None:
    router = LinearDiscriminant(features=RandomFeatures(50), shrinkage=0.01)
    run(permuted(inference=router, further=()), tmp_path / "run")
    record, folder = read_record(tmp_path / "run"), BankFolder(tmp_path / "run" / "bank")
    moments, sizes = folder.open().moments, record["bytes"]
    assert moments is not None
    assert (len(moments.members), folder.verify()) == (3, [])
    assert sizes["router"] == folder.bytes().router + folder.bytes().moments
    assert folder.bytes().moments > 0
    items = ("masks", "owned", "shared", "dense", "norm", "router", "other")
    assert sizes["total"] == sum(sizes[item] for item in items) == sum(folder.sizes().values())
    assert record["task_identification"] > 0.9


def digests(out: Path) -> list[tuple[str, str]]:
    """The digests of the bytes of all tasks."""
    bank = BankFolder(out / "bank").open()
    return [(name, bank.digest(name)) for name in bank.names]


@pytest.mark.parametrize("step", [1, 12, 13, 30])
def test_a_stopped_run_is_resumed_to_the_same_bank(finished: Path, tmp_path: Path, step: int) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(SMALL, tmp_path / "run", watcher=StopAt(step))
    with pytest.raises(RunStateError, match="not finished"):
        read_record(tmp_path / "run")
    assert len(BankFolder(tmp_path / "run" / "bank").read()) == (step - 1) // 12
    run(SMALL, tmp_path / "run", resume=True)
    assert digests(tmp_path / "run") == digests(finished)
    ours, theirs = read_record(tmp_path / "run"), read_record(finished)
    assert ours["accuracy"] == theirs["accuracy"]


def test_a_method_that_cannot_learn_all_tasks_is_refused_before_the_first(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a memory of 9 examples is too small for 10 classes"):
        run(split("icarl", memory=9), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_time_before_a_stop_counts(tmp_path: Path) -> None:
    class Slow(StopAt):
        def step(self, done: int, total: int) -> None:
            if done == 1:
                sleep(0.6)
            super().step(done, total)

    one = changed(SMALL, tasks=1)
    with pytest.raises(KeyboardInterrupt):
        run(one, tmp_path, watcher=Slow(11))
    record = run(one, tmp_path, resume=True).record
    assert record["growth"]["seconds"][0] > 0.6
    assert record["seconds"]["train"] == record["growth"]["seconds"][0]


def test_a_method_that_forgets_is_recognised_at_the_end_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After later tasks, the first tasks would not answer as they did at a checkpoint."""
    for where in ("evaluations", "running.learning", "running.measures"):
        monkeypatch.setattr(f"supermasks.experiments.{where}.FEW_TASKS", 2)
    for way, counts in (("exssnet", [2, 3]), ("ssnet", [3])):
        record = run(permuted(way, checkpoints=(2,)), tmp_path / way).record
        assert [row["tasks"] for row in record["evaluations"][0]["among"]] == counts
        assert [mean is None for mean in record["accuracy"]["so_far"]] == [False, False, False]


def test_a_run_that_lost_its_log_between_bank_and_log_is_resumed(finished: Path, tmp_path: Path) -> None:
    # The bank is written before the log: a kill in between leaves a task that the log does not know.
    with pytest.raises(KeyboardInterrupt):
        run(SMALL, tmp_path / "run", watcher=StopAt(13))
    (tmp_path / "run" / "learned.jsonl").unlink()
    run(SMALL, tmp_path / "run", resume=True)
    assert read_record(tmp_path / "run")["accuracy"] == read_record(finished)["accuracy"]


def test_a_run_that_forgets_cannot_measure_later_what_its_log_has_lost(tmp_path: Path) -> None:
    whole, one, two = (tmp_path / name for name in ("whole", "one", "two"))
    settings = permuted("ssnet")
    expected = run(settings, whole).record["accuracy"]
    lines = (whole / "learned.jsonl").read_text().splitlines(keepends=True)
    for folder, lost in ((one, 1), (two, 2)):
        shutil.copytree(whole, folder)
        (folder / "record.json").unlink()
        (folder / "learned.jsonl").write_text("".join(lines[:-lost]))
    assert run(settings, one, resume=True).record["accuracy"] == expected
    with pytest.raises(RunStateError, match="has 1 lines, but the bank has 3 tasks"):
        run(settings, two, resume=True)


def test_a_folder_with_a_run_is_not_touched_without_being_asked(finished: Path) -> None:
    before = {file: file.read_bytes() for file in finished.rglob("*") if file.is_file()}
    with pytest.raises(RunStateError, match="--resume"):
        run(SMALL, finished)
    with pytest.raises(RunStateError, match="steps was 12, now 13"):
        run(changed(SMALL, steps=13), finished, resume=True)
    assert before == {file: file.read_bytes() for file in finished.rglob("*") if file.is_file()}


def test_resuming_a_finished_run_learns_nothing_again(finished: Path) -> None:
    before = read_record(finished)["accuracy"]
    run(SMALL, finished, resume=True, watcher=StopAt(1))
    assert read_record(finished)["accuracy"] == before


def test_given_tasks_are_scored_without_inference(tmp_path: Path) -> None:
    settings = changed(EXPERIMENTS["split-mnist"].of(), dataset="sample", steps=30, optimiser=RMSprop(3e-3))
    record = run(settings, tmp_path / "run").record
    assert record["scenario"] == "GG"
    assert record["task_identification"] is None
    assert record["evaluations"] == []
    assert record["accuracy"]["mean"] == record["accuracy"]["task_given"] > 0.9


def test_full_batches_are_found_by_binary(tmp_path: Path) -> None:
    settings = {"dataset": "sample", "tasks": 2, "steps": 20, "net": LeNet300(20), "optimiser": RMSprop(3e-3)}
    record = run(changed(EXPERIMENTS["rotated-mnist"].of(), **settings), tmp_path / "run").record
    assert [(e["inference"], e["scoring"]) for e in record["evaluations"]] == [
        (describe(Binary()), describe(FullBatch()))
    ]


IMAGES: Any = ("split-cifar", "class-incremental")
BAD: dict[str, tuple[dict[str, Any], ...]] = {
    **dict.fromkeys(
        ("permuted-mnist", "rotated-mnist", "split-mnist"),
        ({"tasks": 0}, {"steps": 0}, {"seed": -1}, {"net": LeNet300(1)}),
    ),
    **dict.fromkeys(
        IMAGES,
        ({"tasks": 0}, {"tasks": 3}, {"epochs": 0}, {"seed": -1}, {"train_images": 10**9}, {"warmup": 1.0}),
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_settings_fail_before_anything_is_written(name: str, tmp_path: Path) -> None:
    usual = {"net": LeNet5()} if name in IMAGES else {}
    for settings in BAD[name]:
        with pytest.raises(ConfigError):
            run(
                changed(EXPERIMENTS[name].of(), dataset="sample", **{"tasks": 2, **usual, **settings}), tmp_path / "run"
            )
        assert not (tmp_path / "run").exists()


def test_objective_g_needs_superfluous_neurons(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="superfluous"):
        run(replace(SMALL, net=LeNet300(10)), tmp_path / "run")
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
            run(changed(SMALL, steps=13), copy, resume=resume)


@pytest.mark.parametrize("name", ["run.json", "learned.jsonl", "evaluated.jsonl"])
def test_a_damaged_file_of_a_run_is_named(finished: Path, tmp_path: Path, name: str) -> None:
    copy = Path(shutil.copytree(finished, tmp_path / "run"))
    (copy / name).write_text((copy / name).read_text()[9:])
    with pytest.raises(RunStateError, match=name):
        run(SMALL, copy, resume=True)


DAMAGED: dict[str, list[Any]] = {
    "learned.jsonl": [
        *({"accuracies": value} for value in ([], None, 0.5, ["x"], [1.5], [None], [0.5, 0.5, 0.5])),
        {"seconds": "x"},
        {"seconds": None},
        {"task": 5},
        {"curve": 3},
    ],
    "evaluated.jsonl": [
        *({"of": value} for value in (5, None, [], [[], [], 1, "a"])),
        {"accuracy": None},
        {"accuracy": 2},
        {"accuracy": 1e999},
        {"identification": "x"},
        {"seconds": []},
    ],
}


@pytest.mark.parametrize(("name", "change"), [(name, change) for name, some in DAMAGED.items() for change in some])
def test_a_row_with_another_value_is_damaged(finished: Path, tmp_path: Path, name: str, change: Any) -> None:
    """Whoever has changed it, and also if there is no digest, as in older runs."""
    copy = Path(shutil.copytree(finished, tmp_path / "run"))
    first, second, *rest = map(json.loads, (copy / name).read_text().splitlines())
    del second["sha"]
    (copy / name).write_text("".join(json.dumps(row) + "\n" for row in (first, {**second, **change}, *rest)))
    with pytest.raises(RunStateError, match=rf"{name} is damaged: line 2.*; restore it, or start anew"):
        run(SMALL, copy, resume=True)


@pytest.mark.parametrize("name", ["learned.jsonl", "evaluated.jsonl"])
@pytest.mark.parametrize("row", ["null", "[1]", "3", "{}", "NaN", "[" * 100_000, "missing"])
def test_a_line_that_is_no_row_is_damaged(finished: Path, tmp_path: Path, name: str, row: str) -> None:
    copy = Path(shutil.copytree(finished, tmp_path / "run"))
    first, *rest = (copy / name).read_text().splitlines(keepends=True)
    rows = [row] if row != "missing" else [json.dumps({"sha": 1, key: 1}) for key in json.loads(first)]
    for damaged in rows:
        (copy / name).write_text("".join([damaged + "\n", *rest]))
        with pytest.raises(RunStateError, match=rf"{name} is damaged: line 1: .*; restore it, or start anew"):
            run(SMALL, copy, resume=True)


@pytest.mark.parametrize(("name", "entry"), [("learned.jsonl", "accuracies"), ("evaluated.jsonl", "accuracy")])
def test_a_digit_that_has_changed_is_noticed(finished: Path, tmp_path: Path, name: str, entry: str) -> None:
    copy = Path(shutil.copytree(finished, tmp_path / "run"))
    lines = (copy / name).read_text().splitlines()
    row = json.loads(lines[1])
    digest = row.pop("sha")
    assert digest == hashlib.sha256(json.dumps(row, sort_keys=True).encode()).hexdigest()[:16]
    row[entry] = [each / 2 for each in row[entry]] if isinstance(row[entry], list) else row[entry] / 2
    for digits in (digest, "0" * 16, 5, ""):
        lines[1] = json.dumps({**row, "sha": digits})
        (copy / name).write_text("\n".join(lines) + "\n")
        with pytest.raises(RunStateError, match=f"{name} is damaged: line 2: its digest is that of another row"):
            run(SMALL, copy, resume=True)


def test_rows_of_older_versions_have_no_digest(finished: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(finished, tmp_path / "run"))
    for name in ("learned.jsonl", "evaluated.jsonl"):
        rows = [json.loads(line) for line in (copy / name).read_text().splitlines()]
        for row in rows:
            del row["sha"]
        (copy / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    (copy / "record.json").unlink()
    assert run(SMALL, copy, resume=True).record["accuracy"] == read_record(finished)["accuracy"]


def test_a_record_that_could_not_be_read_is_not_written(finished: Path, tmp_path: Path) -> None:
    record = read_record(finished)
    for damaged in ({**record, "tasks": 0}, {**record, "accuracy": {**record["accuracy"], "mean": None}}):
        with pytest.raises(RunStateError, match=r"record\.json could not be read again, so it was not written: "):
            write_record(tmp_path, damaged)
        assert [*tmp_path.iterdir()] == []
    assert read_record(write_record(tmp_path, record)) == record


@pytest.mark.parametrize("content", ["[" * 100_000, '{"way":' * 500 + "1" + "}" * 500, "null", "[]", "Infinity"])
@pytest.mark.parametrize("name", ["run.json", "record.json"])
def test_json_that_no_run_writes_is_named(finished: Path, tmp_path: Path, name: str, content: str) -> None:
    copy = Path(shutil.copytree(finished, tmp_path / "run"))
    (copy / name).write_text(content)
    with pytest.raises(RunStateError, match=str(copy)):
        run(SMALL, copy, resume=True) if name == "run.json" else read_record(copy)


@pytest.mark.parametrize("name", ["learned.jsonl", "evaluated.jsonl"])
def test_a_line_that_a_killed_process_did_not_finish_is_made_again(finished: Path, tmp_path: Path, name: str) -> None:
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
    assert digests(tmp_path / "run") == digests(finished)
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
    wanted = 3 * len(SMALL.evaluation.found())
    assert asked.get("Recognise") == (wanted if share_files else None)
    ours, theirs = read_record(tmp_path / "run"), read_record(finished)
    assert without_seconds(ours["evaluations"]) == without_seconds(theirs["evaluations"])
    assert len((tmp_path / "run" / EVALUATED).read_text().splitlines()) == wanted


def test_of_many_tasks_all_are_evaluated_at_checkpoints_only(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for where in ("evaluations", "running.learning", "running.measures"):
        monkeypatch.setattr(f"supermasks.experiments.{where}.FEW_TASKS", 2)
    run(changed(SMALL, checkpoints=(1, 10)), tmp_path / "run")
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
    shown = permuted(tasks=6, steps=150, optimiser=RMSprop(3e-4), net=LeNet300(40), foreign="sample")
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
    with pytest.raises(ConfigError, match="at least 3 tasks"):
        changed(shown, tasks=2)


def test_at_checkpoints_some_images_are_judged_and_at_the_end_all(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("supermasks.experiments.evaluations.FEW_TASKS", 2)
    shutil.copytree(finished, tmp_path / "run")
    (tmp_path / "run" / EVALUATED).unlink()
    (tmp_path / "run" / "run.json").unlink()
    some = changed(SMALL, checkpoint_images=40, checkpoints=(2,))
    (tmp_path / "run" / "run.json").write_text(json.dumps(describe(some)))
    run(some, tmp_path / "run", resume=True)
    ours, theirs = read_record(tmp_path / "run"), read_record(finished)
    for one, other in zip(ours["evaluations"], theirs["evaluations"], strict=True):
        assert one["among"][-1] == other["among"][-1]
        right = 2 * 40 * one["among"][0]["accuracy"]  # of 40 images each
        assert right == pytest.approx(round(right))
        assert one["among"][0]["accuracy"] == pytest.approx(other["among"][-1]["accuracy"], abs=0.35)
    with pytest.raises(ConfigError, match="at least 1, or None"):
        changed(SMALL, checkpoint_images=0)


def test_a_density_that_keeps_nothing_fails_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(DensityError):
        run(changed(SMALL, rule=TopK(1e-5)), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_record_of_another_schema_is_refused(tmp_path: Path) -> None:
    (tmp_path / "record.json").write_text(json.dumps({"schema": 99}))
    with pytest.raises(RunStateError, match="schema"):
        read_record(tmp_path)


def test_the_recognisable_way_is_the_recipe(tmp_path: Path) -> None:
    small = permuted("recognisable", optimiser=Adam(2e-3), scoring=FirstOfBatch())
    finished = run(small, tmp_path / "run")
    assert finished.record["method"] == "Diluted"
    (row,) = finished.record["evaluations"]
    assert (row["inference"], row["scoring"]) == (describe(recognisable()["inference"]), describe(FirstOfBatch()))
    assert finished.learner.method == recognisable()["method"]
    assert finished.learner.inference == recognisable()["inference"]
    assert finished.learner.training == recognisable(steps=12)["training"]
    assert small.title == "permuted-mnist-lenet-300-100-recognisable-seed0"


@pytest.mark.parametrize(
    "inference", [TopGamma(gamma=0.4), pytest.param(GradientDescent(), marks=pytest.mark.nightly), TwoShot()], ids=str
)
def test_every_inference_can_be_run(finished: Path, tmp_path: Path, inference: Any) -> None:
    copy = Path(shutil.copytree(finished, tmp_path / "run"))
    (copy / "evaluated.jsonl").unlink()
    settings = changed(SMALL, inference=inference, scoring=FirstOfBatch())
    (copy / "run.json").write_text(json.dumps(describe(settings)))
    record = run(settings, copy, resume=True).record
    assert [row["inference"]["type"] for row in record["evaluations"]] == [type(inference).__name__] * 2


def test_a_run_of_an_older_version_is_resumed_with_the_defaults_of_new_settings(finished: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(finished, tmp_path / "run"))
    config = json.loads((copy / "run.json").read_text())
    del config["later_epochs"], config["training"]["clip_norm"], config["evaluation"]["inference"]["centred"]
    (copy / "run.json").write_text(json.dumps(config))
    run(SMALL, copy, resume=True)
    with pytest.raises(RunStateError, match="clip_norm was None, now 1"):
        run(changed(SMALL, clip_norm=1.0), copy, resume=True)


def test_a_run_of_schema_1_is_not_resumed(finished: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(finished, tmp_path / "run"))
    (copy / "run.json").write_text(json.dumps({"type": "PermutedMNIST", "tasks": 3, "seed": 0}))
    with pytest.raises(RunStateError, match="older version"):
        run(SMALL, copy, resume=True)
