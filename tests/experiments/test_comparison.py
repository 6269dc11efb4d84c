import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from small_experiments import changed

from supermasks.cli import main
from supermasks.errors import ConfigError, DataUnavailableError, RunStateError, TrainingError
from supermasks.experiments import EXPERIMENTS, Comparison, Experiment, compare, comparison_of
from supermasks.experiments.architectures.fully_connected import LeNet300
from supermasks.experiments.running.lock import alone_in
from supermasks.experiments.running.record import (
    append_line,
    read_json,
    read_lines,
    read_record,
    write_json,
    write_record,
)
from supermasks.experiments.tasks.held_out import HeldOut
from supermasks.experiments.tasks.permuted import PermutedMNIST
from supermasks.experiments.tasks.rotated import RotatedMNIST
from supermasks.experiments.tasks.source import TaskSource
from supermasks.experiments.tasks.split import SplitMNIST
from supermasks.experiments.tasks.tenants import Tenants
from supermasks.spec import describe
from supermasks.training import RMSprop
from supermasks.types import Examples

PRESET = EXPERIMENTS["split-mnist"]
SMALL = {"dataset": "sample", "steps": 8, "net": LeNet300(20)}


def small(*ways: str, **numbers: Any) -> Comparison:
    usual = tuple(changed(each, **SMALL, tasks=2) for each in PRESET.usual[:1])
    return comparison_of(replace(PRESET, usual=usual), ways, **numbers)


def record_of(mean: float) -> dict[str, Any]:
    """The least that a record has."""
    words = dict.fromkeys(("experiment", "scenario", "dataset", "net", "way", "method", "command"), "some")
    accuracy = {"mean": mean, "per_task": [mean], "matrix": [[mean]], "forgetting": 0.0, "backward_transfer": None}
    numbers = {"bytes": {"total": 1}, "seconds": {"train": 1.0}, "accuracy": accuracy}
    others = {"tasks": 1, "seed": 0, "task_identification": None, "evaluations": []}
    return {**words, **others, **numbers, "config": {}, "versions": {}, "baselines": {}}


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[Experiment]:
    """Replace the runner: its accuracy is best at a third of the usual rate. It diverges at ten times that rate."""
    seen: list[Experiment] = []

    def fake(experiment: Experiment, out: Path, *_: object, **__: object) -> SimpleNamespace:
        seen.append(experiment)
        rate = experiment.training.optimiser.learning_rate
        out.mkdir(parents=True)
        if rate > 2e-4:
            raise TrainingError("training left values that are not finite")
        record = record_of(1 - abs(rate - 3e-5))
        write_record(out, record)
        return SimpleNamespace(record=record)

    monkeypatch.setattr("supermasks.experiments.comparison.run", fake)
    return seen


def rows(examples: Examples | None) -> list[int]:
    assert examples is not None
    return list(range(len(examples))) if examples.rows is None else examples.rows.tolist()


def test_held_out_tasks_are_tested_on_training_examples() -> None:
    source = SplitMNIST(dataset="sample")
    whole, parted = source.stream(None, 0)[1], HeldOut(source=source, fraction=0.2).stream(None, 0)[1]
    assert parted.test is not None
    assert torch.equal(torch.as_tensor(parted.test.inputs), torch.as_tensor(whole.train.inputs))
    assert sorted(rows(parted.train) + rows(parted.test)) == sorted(rows(whole.train))
    assert len(parted.test) == round(0.2 * len(whole.train))
    assert parted.validation is None


@pytest.mark.parametrize(
    "source",
    [
        RotatedMNIST(tasks=3, dataset="sample"),
        PermutedMNIST(tasks=3, dataset="sample"),
        Tenants(tasks=5, datasets=("sample",)),
    ],
    ids=str,
)
def test_no_task_is_trained_on_what_another_one_is_tested_on(source: TaskSource) -> None:
    """All tasks are made of the same images, so that a row is an image."""
    tasks = HeldOut(source=source, fraction=0.1).stream(None, 0)
    tested = {row for task in tasks for row in rows(task.test)}
    trained = {row for task in tasks for row in rows(task.train)}
    assert not tested & trained
    assert (len(tested), len(trained)) == (1000, 9000)
    other = HeldOut(source=source, fraction=0.1).stream(None, 1)[0]
    assert {*rows(other.test)} != tested


def test_held_out_tasks_keep_their_validation_examples() -> None:
    source = SplitMNIST(dataset="sample", validation=0.1)
    whole, parted = source.stream(None, 0)[0], HeldOut(source=source).stream(None, 0)[0]
    assert whole.validation is not None
    assert parted.validation is not None
    assert rows(parted.validation) == rows(whole.validation)
    assert not {*rows(parted.test)} & {*rows(whole.validation)}
    assert HeldOut(source=source).holds_out


def test_the_search_uses_the_first_seed_and_no_test_example(runs: list[Experiment], tmp_path: Path) -> None:
    compare(small("supsup", "sequential", seeds=3, trials=4), tmp_path, apart=False)
    trials = [each for each in runs if isinstance(each.tasks, HeldOut)]
    assert [(each.way.name, each.seed) for each in trials] == [("supsup", 0)] * 4 + [("sequential", 0)] * 4
    assert [each.training.optimiser.learning_rate for each in trials[:4]] == [1e-4, 3e-5, 3e-4, 1e-5]
    final = [each for each in runs if not isinstance(each.tasks, HeldOut)]
    assert [(each.way.name, each.seed) for each in final] == [
        (way, seed) for way in ("supsup", "sequential") for seed in range(3)
    ]
    assert {each.training.optimiser.learning_rate for each in final} == {3e-5}
    assert not (tmp_path / "trials").exists()


def test_a_trial_that_diverges_is_logged_and_loses(runs: list[Experiment], tmp_path: Path) -> None:
    compare(small("supsup", trials=3), tmp_path, apart=False)
    lines = read_lines(tmp_path / "search.jsonl")
    assert [(line["learning_rate"], line["accuracy"] is None) for line in lines] == [
        (1e-4, False),
        (3e-5, False),
        (3e-4, True),
    ]
    assert "not finite" in lines[2]["error"]


def test_a_trial_whose_weights_do_not_fit_their_precision_loses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The first step of RMSprop moves a weight by ten times the rate, and float16 ends at 65504.
    monkeypatch.setattr("supermasks.experiments.comparison.FACTORS", (1.0, 30.0))
    found = small("packnet(weights='float16')", seeds=1, trials=2)
    (usual,) = found.experiments
    usual = changed(usual, optimiser=RMSprop(500.0), weight_optimiser=None)
    compare(replace(found, experiments=(usual,)), tmp_path, apart=False)
    lines = read_lines(tmp_path / "search.jsonl")
    assert [line["accuracy"] is None for line in lines] == [False, True]
    assert "too much for float16" in lines[1]["error"]
    assert (tmp_path / "runs" / f"{found.names[0]}-seed0" / "record.json").exists()


def test_a_stopped_search_is_resumed(runs: list[Experiment], tmp_path: Path) -> None:
    settings = small("supsup", seeds=1, trials=2)
    compare(settings, tmp_path, apart=False)
    first, log = (tmp_path / "search.jsonl").read_text().splitlines(), tmp_path / "search.jsonl"
    log.write_text(first[0] + "\n")
    (tmp_path / "runs" / "supsup-seed0" / "record.json").unlink()
    (tmp_path / "runs" / "supsup-seed0").rmdir()
    runs.clear()
    compare(settings, tmp_path, apart=False)
    assert [each.training.optimiser.learning_rate for each in runs] == [3e-5, 3e-5]  # the second trial, and the run
    runs.clear()
    compare(settings, tmp_path, apart=False)
    assert runs == []


def test_settings_with_the_same_value_are_compared(runs: list[Experiment], tmp_path: Path) -> None:
    pairs = ["packnet(keep=0.5)", "packnet(train_share=0.5)"], ["lwf(strength=3.0)", "lwf(temperature=3.0)"]
    names = ("packnet-0.5", "packnet-train-share-0.5"), ("lwf-3", "lwf-temperature-3")
    for pair, expected in zip(pairs, names, strict=True):
        found = small(*pair, seeds=1, trials=1)
        assert found.names == expected
        assert len({experiment.title for experiment in found.experiments}) == 2
        runs.clear()
        compare(found, tmp_path / expected[0], apart=False)
        assert [each.way for each in runs] == [each.way for each in found.experiments]
        assert {path.name for path in (tmp_path / expected[0] / "runs").iterdir()} == {
            f"{name}-seed0" for name in expected
        }


def test_a_rate_without_a_right_answer_beats_one_that_diverged(runs: list[Experiment], tmp_path: Path) -> None:
    settings = small("supsup", seeds=1, trials=2)
    trial = {"way": "supsup", "learning_rate": 1e-4, "seconds": 1.0}
    append_line(tmp_path / "log", {**trial, "factor": 1.0, "accuracy": None, "error": "not finite"})
    append_line(tmp_path / "log", {**trial, "factor": 0.3, "accuracy": 0.0})
    write_json(tmp_path / "comparison.json", describe(settings))
    (tmp_path / "log").rename(tmp_path / "search.jsonl")
    compare(settings, tmp_path, apart=False)
    assert [each.training.optimiser.learning_rate for each in runs] == [3e-5]


def test_a_trial_removes_nothing_but_its_own_folder(runs: list[Experiment], tmp_path: Path) -> None:
    other = tmp_path / "trials" / "sequential-1" / "bank"
    other.mkdir(parents=True)
    compare(small("supsup", seeds=1, trials=2), tmp_path, apart=False)
    assert len(read_lines(tmp_path / "search.jsonl")) == 2
    assert [*(tmp_path / "trials").iterdir()] == [other.parent]
    assert other.exists()


def test_only_one_process_works_in_a_folder(
    runs: list[Experiment], tmp_path: Path, elsewhere: Callable[..., str]
) -> None:
    enter = """
import os, sys
from pathlib import Path
from supermasks.errors import RunStateError
from supermasks.experiments.running.lock import alone_in
try:
    alone_in(Path(sys.argv[1])).__enter__()
    print("alone", flush=True)
    os._exit(0)
except RunStateError as error:
    print(error)
"""
    with alone_in(tmp_path):
        with pytest.raises(RunStateError, match="another process works in"):
            compare(small("supsup", seeds=1, trials=1), tmp_path, apart=False)
        assert elsewhere(enter, tmp_path) == (
            f"another process works in {tmp_path}; wait until it has ended, or choose another folder by --out"
        )
    assert runs == []
    assert elsewhere(enter, tmp_path) == "alone"  # it ends without a word, and leaves no lock
    compare(small("supsup", seeds=1, trials=1), tmp_path, apart=False)
    assert len(runs) == 1
    (tmp_path / "other" / ".supermasks.lock").mkdir(parents=True)
    with pytest.raises(RunStateError, match="cannot be locked"):
        compare(small("supsup", seeds=1, trials=1), tmp_path / "other", apart=False)


ROW = {"way": "supsup", "factor": 1.0, "learning_rate": 1e-4, "accuracy": 0.5, "seconds": 1.0}
DAMAGED: list[Any] = [
    *(None, [1], 3, {}),
    *({**ROW, "accuracy": value} for value in ("x", 1.5, -0.1, True, [], 10**400)),
    *({**ROW, **change} for change in ({"seconds": None}, {"factor": "1"}, {"way": 1})),
]


@pytest.mark.parametrize("row", DAMAGED, ids=range(len(DAMAGED)))
def test_a_damaged_line_of_the_search_is_named(runs: list[Experiment], tmp_path: Path, row: Any) -> None:
    settings = small("supsup", seeds=1, trials=2)
    write_json(tmp_path / "comparison.json", describe(settings))
    (tmp_path / "search.jsonl").write_text(f"{json.dumps(ROW)}\n{json.dumps(row)}\n")
    with pytest.raises(RunStateError, match=r"search\.jsonl is damaged: line 2: .*restore it, or start anew"):
        compare(settings, tmp_path, apart=False)
    assert runs == []


@pytest.mark.parametrize("content", ["{}", "null", '{"schema": 2, "accuracy": {"mean": 0.5}}', "[" * 100_000])
def test_a_damaged_record_of_a_finished_run_is_named(runs: list[Experiment], tmp_path: Path, content: str) -> None:
    settings = small("supsup", seeds=1, trials=1)
    compare(settings, tmp_path, apart=False)
    (tmp_path / "runs" / "supsup-seed0" / "record.json").write_text(content)
    with pytest.raises(RunStateError, match=r"supsup-seed0/record\.json "):
        compare(settings, tmp_path, apart=False)


@pytest.mark.parametrize("content", ["[" * 100_000, '{"a":' * 500 + "1" + "}" * 500, "[[1]]", "null", "NaN"])
def test_a_damaged_comparison_is_named(runs: list[Experiment], tmp_path: Path, content: str) -> None:
    (tmp_path / "comparison.json").write_text(content)
    with pytest.raises(RunStateError, match=str(tmp_path)):
        compare(small("supsup", trials=1), tmp_path, apart=False)


def test_a_list_of_ways_has_a_name_and_each_finished_run_is_told(runs: list[Experiment], tmp_path: Path) -> None:
    settings = replace(PRESET, usual=small("supsup").experiments, lists={"both": ("supsup", "supsup(rule=TopK(0.2))")})
    found = comparison_of(settings, ["both"], seeds=2, trials=1)
    assert found.names == ("supsup", "supsup-topk-0.2")
    done: list[int] = []
    compare(found, tmp_path, apart=False, finished=lambda folder: done.append(len(list(folder.iterdir()))))
    assert done == [1, 2, 3, 4]
    compare(found, tmp_path, apart=False, finished=lambda folder: done.append(0))
    assert done == [1, 2, 3, 4]
    names = comparison_of(EXPERIMENTS["pretrained-text"], ["frontier"]).names
    assert names[0] == "heads"
    assert {"masks-drop-share-0.01", "lora-1", "lora-all", "fine-tuning", "priced-masks"} <= set(names)


def test_another_comparison_is_rejected(runs: list[Experiment], tmp_path: Path) -> None:
    compare(small("supsup", trials=1), tmp_path, apart=False)
    assert len(runs) == 2  # nothing is searched
    with pytest.raises(RunStateError, match="holds another comparison"):
        compare(small("supsup", trials=2), tmp_path, apart=False)


def test_ways_and_seeds_can_be_added_and_left_out(runs: list[Experiment], tmp_path: Path) -> None:
    def ran(*ways: str, seeds: int = 1) -> list[tuple[str, int]]:
        runs.clear()
        found = small(*ways, trials=1, seeds=seeds)
        compare(found, tmp_path, apart=False)
        names = dict(zip((each.way for each in found.experiments), found.names, strict=True))
        return [(names[each.way], each.seed) for each in runs]

    assert ran("supsup", "ewc(strength=5)") == [("supsup", 0), ("ewc-5", 0)]
    assert ran("supsup", "er", "ewc(strength=5)") == [("er", 0)]
    assert ran("supsup", "er", "ewc(strength=5)", "ewc(strength=10)") == [("ewc-10", 0)]
    assert ran("ewc", "supsup") == [("ewc", 0)]
    assert ran("supsup") == []
    assert ran("supsup", seeds=2) == [("supsup", 1)]
    assert ran("ewc(strength=5)", "supsup") == []
    stored = read_json(tmp_path / "comparison.json")
    assert (stored["names"], stored["seeds"]) == (["supsup", "ewc-5", "er", "ewc-10", "ewc"], 2)


def test_an_error_says_what_differs(runs: list[Experiment], tmp_path: Path) -> None:
    compare(small("supsup", trials=1, seeds=1), tmp_path, apart=False)
    other = small("supsup", trials=1, seeds=1)
    longer = replace(
        other, experiments=tuple(replace(each, training=replace(each.training, steps=9)) for each in other.experiments)
    )
    with pytest.raises(RunStateError, match="another comparison: steps of supsup was 8, now 9; use the same settings"):
        compare(longer, tmp_path, apart=False)
    with pytest.raises(RunStateError, match="trials was 1, now 2"):
        compare(small("supsup", trials=2, seeds=1), tmp_path, apart=False)


COMMAND = ["compare", "permuted-mnist", "--given", "--seeds", "1", "--trials", "1"]
SIZES = ["--dataset", "sample", "--tasks", "2", "--net", "LeNet300(20)"]


def test_added_ways_get_the_training_of_the_comparison(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The recognisable way has another schedule by itself."""
    runs: list[Path] = []

    def called(job: Any, apart: bool) -> None:
        runs.append(job.out)
        job.out.mkdir(parents=True)
        write_record(job.out, record_of(0.5))

    monkeypatch.setattr("supermasks.experiments.comparison._call", called)
    monkeypatch.setattr("supermasks.cli.compare_command._show", lambda folder: None)
    monkeypatch.setattr("supermasks.cli.compare_command.write_frontier", lambda *_: [])

    def command(name: str, ways: str, *options: str) -> int:
        return main([*COMMAND, "--out", str(tmp_path / name), "--ways", ways, *options])

    assert command("at once", "supsup,recognisable,ewc", *SIZES, "--steps", "8") == 0
    assert command("added", "supsup", *SIZES, "--steps", "8") == 0
    assert command("added", "recognisable") == 0
    assert command("added", "ewc", *SIZES, "--steps", "8") == 0
    one, other = (read_json(tmp_path / name / "comparison.json") for name in ("at once", "added"))
    assert one == other
    assert {each["training"]["schedule"] for each in other["experiments"]} == {"constant"}
    assert {each["training"]["steps"] for each in other["experiments"]} == {8}
    assert len(runs) == 6
    assert command("added", "ewc,recognisable,supsup") == 0
    assert len(runs) == 6
    for options, words in (
        (["--steps", "16"], "steps 16, not 8"),
        (["--epochs", "1"], "steps None, not 8, epochs 1"),
        (["--batch-size", "7"], "batch_size 7, not 128"),
        (["--tasks", "3"], "other tasks"),
        (["--net", "LeNet300(21)"], "another network"),
    ):
        assert command("added", "sequential", *options) == 2
        error = capsys.readouterr().err
        assert f"{tmp_path / 'added'} holds another comparison" in error
        assert words in error
    assert main([COMMAND[0], "rotated-mnist", *COMMAND[2:], "--ways", "ewc", "--out", str(tmp_path / "added")]) == 2
    assert len(runs) == 6
    assert read_json(tmp_path / "added" / "comparison.json") == one


@pytest.mark.parametrize("setting", [{"steps": 9}, {"schedule": "cosine"}, {"batch_size": 5}, {"later_epochs": 2.0}])
def test_all_ways_of_a_comparison_have_the_same_training(setting: dict[str, Any]) -> None:
    one, other = small("supsup", "sequential").experiments
    ((name, value),) = setting.items()
    with pytest.raises(ConfigError, match=f"sequential has another training than supsup: {name} {value}, not "):
        Comparison(experiments=(one, changed(other, **setting)))


def test_ways_have_the_same_tasks_and_training() -> None:
    usual = (*PRESET.usual[:1], replace(EXPERIMENTS["split-cifar"].of("exssnet"), tasks=SplitMNIST(), net=LeNet300()))
    one, other = comparison_of(replace(PRESET, usual=usual), ["supsup", "exssnet"]).experiments
    assert (one.tasks, one.net, one.evaluation, one.training.steps) == (
        other.tasks,
        other.net,
        other.evaluation,
        other.training.steps,
    )
    assert other.training.optimiser == usual[1].training.optimiser
    assert one.training.optimiser != other.training.optimiser


def test_each_way_keeps_the_rates_of_its_head() -> None:
    preset = EXPERIMENTS["pretrained-text"]
    heads, tuned = comparison_of(preset, ["heads", "fine-tuning"]).experiments
    assert (heads.training.head_rate, tuned.training.head_rate, tuned.training.head_first) == (1.0, 10.0, 0.3)
    assert tuned.training == replace(preset.of("fine-tuning").training, epochs=heads.training.epochs)


def test_every_way_can_be_compared_with_the_task_given() -> None:
    """Also on tasks whose usual evaluation finds the task, which ways with heads cannot have."""
    preset = EXPERIMENTS["split-mnist-unknown"]
    found = comparison_of(preset, preset.ways(), given=True)
    assert [each.way.name for each in found.experiments] == preset.ways()


def test_one_way_is_compared_with_several_settings(runs: list[Experiment], tmp_path: Path) -> None:
    preset = EXPERIMENTS["pretrained-text"]
    found = comparison_of(preset, ["masks", "lora", "lora(rank=1)", "lora(rank=8, layers='all')"], seeds=1, trials=2)
    assert found.names == ("masks", "lora", "lora-1", "lora-all")
    optimisers = [each.training.optimiser for each in found.experiments]
    assert optimisers[1:] == [preset.of("lora").training.optimiser] * 3
    assert replace(found.experiments[2], way=found.experiments[1].way) == found.experiments[1]
    small_ones = small("supsup(rule=TopK(0.1))", "supsup(rule=TopK(0.2))", seeds=1, trials=2)
    compare(small_ones, tmp_path / "out", apart=False)
    assert [experiment.way for experiment in runs] == [small_ones.experiments[way].way for way in (0, 0, 0, 1, 1, 1)]
    folders = {folder.name for folder in (tmp_path / "out" / "runs").iterdir()}
    assert folders == {"supsup-topk-0.1-seed0", "supsup-topk-0.2-seed0"}
    lines = read_lines(tmp_path / "out" / "search.jsonl")
    assert [line["way"] for line in lines] == [name for name in small_ones.names for _ in range(2)]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: comparison_of(PRESET, []), "no way is named"),
        (
            lambda: comparison_of(PRESET, ["supsup(rank=1)"]),
            r"^'supsup\(rank=1\)': SupSupWay has no setting rank",
        ),
        (lambda: comparison_of(PRESET, ["er("]), r"^'er\(' cannot be read"),
        (lambda: comparison_of(PRESET, ["er(memory=1.5)"]), r"^'er\(memory=1.5\)': memory of ERWay must be"),
        (lambda: comparison_of(PRESET, ["er(memory=0)"]), r"^'er\(memory=0\)': a memory must hold at least 1 example"),
        (lambda: comparison_of(PRESET, ["ewc(strength=-1)"]), "EWC takes a strength from 0 up"),
        (lambda: comparison_of(PRESET, ["ewc(strength=1e400)"]), "expected finite numbers"),
        (lambda: comparison_of(PRESET, ["supsup"], seeds=0), "1 to 9 trials, got 0 and 4"),
        (lambda: comparison_of(PRESET, ["supsup"], trials=0), "1 to 9 trials, got 2 and 0"),
        (lambda: comparison_of(PRESET, ["supsup"], fraction=1.0), "above 0 and below 1, got 1.0"),
        (lambda: comparison_of(PRESET, ["supsup", "SupSup"]), "^supsup is named twice"),
        (lambda: comparison_of(PRESET, ["supsup", "nothing"]), "got 'nothing'"),
        (lambda: comparison_of(PRESET, ["supsup", "hopsupsup"]), "hopsupsup is for Gated2048 networks"),
        (lambda: comparison_of(EXPERIMENTS["permuted-mnist"], ["supsup", "ewc"]), "cannot be superposed"),
    ],
)
def test_what_cannot_be_compared_is_rejected(make: Callable[[], Comparison], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


def test_data_that_are_missing_are_noticed_before_anything_is_written(runs: list[Experiment], tmp_path: Path) -> None:
    with pytest.raises(DataUnavailableError):
        compare(comparison_of(PRESET, ["supsup"]), tmp_path / "out", data=tmp_path / "nowhere", apart=False)
    assert not (tmp_path / "out").exists()
    assert runs == []


def test_all_diverged(runs: list[Experiment], tmp_path: Path) -> None:
    usual = small("supsup", trials=2)
    fast = changed(usual.experiments[0], optimiser=RMSprop(1.0))
    with pytest.raises(TrainingError, match="all 2 trials of supsup diverged"):
        compare(replace(usual, experiments=(fast,)), tmp_path, apart=False)


def test_one_way_that_diverges_does_not_stop_the_others(runs: list[Experiment], tmp_path: Path) -> None:
    usual = small("sequential", "supsup", trials=2, seeds=1)
    fast, other = (
        changed(each, optimiser=RMSprop(rate)) for each, rate in zip(usual.experiments, (1.0, 1e-5), strict=True)
    )
    with pytest.raises(TrainingError, match=r"all 2 trials of sequential diverged.*All other ways are finished"):
        compare(replace(usual, experiments=(fast, other)), tmp_path, apart=False)
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["supsup-seed0"]


def test_a_way_whose_settings_cannot_work_does_not_stop_the_others(tmp_path: Path) -> None:
    usual = small("icarl(memory=3)", "sequential", trials=1, seeds=1)
    with pytest.raises(TrainingError, match=r"^icarl-3: a memory of 3 examples .*All other ways are finished"):
        compare(usual, tmp_path, apart=False)
    assert [path.parent.name for path in (tmp_path / "runs").glob("*/record.json")] == ["sequential-seed0"]
    assert not (tmp_path / "runs" / "icarl-3-seed0").exists()


def test_a_run_that_diverges_after_its_search(runs: list[Experiment], tmp_path: Path) -> None:
    usual = small("sequential", "supsup", trials=1, seeds=2)
    fast, other = (
        changed(each, optimiser=RMSprop(rate)) for each, rate in zip(usual.experiments, (1.0, 1e-5), strict=True)
    )
    with pytest.raises(TrainingError, match=r"^sequential: training left values that are not finite"):
        compare(replace(usual, experiments=(fast, other)), tmp_path, apart=False)
    assert {path.name for path in (tmp_path / "runs").glob("supsup*")} == {"supsup-seed0", "supsup-seed1"}


def test_the_command_shows_what_is_finished_beside_a_way_that_diverged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["compare", "split-mnist", "--ways", "sequential", "--tasks", "2", "--seeds", "1", "--trials", "1"]
    words += ["--dataset", "sample", "--steps", "8", "--net", "LeNet300(20)"]
    words += ["--out", str(tmp_path / "out")]
    assert main([*words[:2], "--train-images", "20", *words[2:]]) == 2
    error = capsys.readouterr().err
    assert "the tasks of split-mnist have no --train-images; leave it out. They have --tasks, --dataset" in error
    assert main(words) == 0
    shown = capsys.readouterr().out

    def diverged(*_: object, **__: object) -> None:
        raise TrainingError("ewc: the training diverged")

    monkeypatch.setattr("supermasks.cli.compare_command.run_comparison", diverged)
    assert main(words) == 2
    again = capsys.readouterr()
    assert again.out == shown
    assert "ewc: the training diverged" in again.err
    assert main([*words[:-1], str(tmp_path / "empty")]) == 2
    assert "records" not in capsys.readouterr().out


def test_the_command_compares_two_ways(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "compare",
        "split-mnist",
        "--ways",
        "supsup(rule=TopK(0.5)),sequential",
        "--tasks",
        "2",
        "--seeds",
        "1",
        "--trials",
        "1",
    ]
    words += ["--dataset", "sample", "--steps", "8", "--net", "LeNet300(20)", "--out", str(tmp_path / "out")]
    assert main(words) == 0
    report = (tmp_path / "out" / "report" / "report.md").read_text(encoding="utf-8")
    assert "Backward transfer, points" in report
    assert {"comparison.png", "tradeoff.png"} <= {path.name for path in (tmp_path / "out" / "report").iterdir()}
    assert "Backward transfer, points" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    records = [read_record(tmp_path / "out" / "runs" / f"{way}-seed0") for way in ("supsup-topk-0.5", "sequential")]
    assert [record["tasks"] for record in records] == [2, 2]
    assert all(record["peak_memory_bytes"] for record in records)
    assert main([*words[:-1], str(tmp_path / "other"), "--trials", "0"]) == 2
    assert "and 1 to 9 trials" in capsys.readouterr().err


def test_the_command_reports_what_it_has_if_a_way_cannot_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["compare", "split-mnist", "--ways", "icarl(memory=3),sequential", "--tasks", "2", "--seeds", "1"]
    words += ["--dataset", "sample", "--steps", "8", "--trials", "1", "--given"]
    words += ["--net", "LeNet300(20)", "--batch-size", "16", "--out", str(tmp_path)]
    assert main(words) == 2
    assert "a memory of 3 examples" in capsys.readouterr().err
    assert "sequential" in (tmp_path / "report" / "report.md").read_text(encoding="utf-8")
    assert (tmp_path / "report.html").exists()


def test_the_command_refuses_a_network_that_the_first_way_is_not_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["compare", "split-mnist", "--ways", "hopsupsup", "--net", "LeNet300(20)", "--dataset", "sample"]
    assert main([*words, "--out", str(tmp_path)]) == 2
    assert "hopsupsup is for Gated2048 networks, got --net LeNet300(20)" in capsys.readouterr().err
