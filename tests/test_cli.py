"""The command line, from the words typed to the files and messages that come out."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from time import monotonic, sleep

import pytest

from supermasks import BankFolder, Learner, Task
from supermasks.cli import main
from supermasks.errors import DataUnavailableError
from supermasks.experiments import read_record
from supermasks.experiments.debian_sections import DEBIAN_SECTIONS
from supermasks.experiments.ways.exssnet import ExSSNeTWay
from supermasks.masks import ER, TopK
from supermasks.nets import fully_connected
from supermasks.router import LinearDiscriminant, RandomFeatures
from supermasks.scores import KKT
from supermasks.spec import describe

SMALL = [
    "--dataset",
    "sample",
    "--tasks",
    "2",
    "--steps",
    "8",
    "--net",
    "LeNet300(20)",
    "--optimiser",
    "RMSprop(0.003)",
]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("cli") / "run"
    assert main(["run", "permuted-mnist", *SMALL, "--out", str(out)]) == 0
    return out


def test_a_run_leaves_a_record_a_bank_and_a_report(finished: Path) -> None:
    record = read_record(finished)
    assert (record["tasks"], record["config"]["training"]["steps"], record["outputs"]) == (2, 8, 20)
    assert (finished / "bank" / "bank.sqlite").exists()
    assert "permuted-mnist" in (finished / "report" / "report.md").read_text(encoding="utf-8")
    assert list((finished / "report").rglob("*.png"))


def test_the_default_folder_is_named_after_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["run", "split-mnist", "--dataset", "sample", "--steps", "2", "--seed", "7"]) == 0
    assert (tmp_path / "runs" / "split-mnist-lenet-300-100-supsup-threshold-seed7" / "record.json").exists()


def test_report_makes_one_table_of_many_runs(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(finished.parent), "--out", str(tmp_path / "report")]) == 0
    assert "permuted-mnist" in capsys.readouterr().out
    assert (tmp_path / "report" / "report.md").exists()


@pytest.mark.parametrize("inside", ["", "bank"])
def test_inspect_lists_tasks_and_bytes(finished: Path, inside: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(finished / inside)]) == 0
    shown = capsys.readouterr().out
    total = sum(file.stat().st_size for file in (finished / "bank").rglob("*") if file.is_file())
    assert "permuted-0001" in shown
    assert f"2 tasks, {total:,} bytes on disk" in shown


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "permuted-mnist", "--data", "/nowhere"], "supermasks data fetch mnist"),
        (["run", "permuted-mnist", "--workers", "2", "--ray", "auto"], "choose one"),
        (["run", "permuted-mnist", "--dataset", "sample", "--workers", "0"], "at least 1"),
        (["run", "split-cifar", "--way", "exsnet"], "must be one of supsup"),
        (["run", "permuted-mnist", "--way", "separate-heads"], "cannot be superposed"),
        (["paper", "supsub"], "one of supsup, exssnet, got 'supsub'"),
        (["paper", "supsup", "12"], "one of 1, 2, 3"),
        (["run", "permuted-mnist", "--dataset", "sample", "--steps", "0"], "at least 1"),
        (["report", "/nowhere"], "record.json"),
        (["inspect", "/nowhere"], "no bank"),
        (["data", "fetch", "imagenet"], "imagenet"),
    ],
)
def test_errors_are_one_sentence_and_status_2(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    shown = capsys.readouterr().err
    assert shown.splitlines()[-1].startswith("error: ")
    assert message in shown
    assert "Traceback" not in shown


@pytest.mark.parametrize(("name", "resource"), [("mnist", "mnist"), ("debian-sections", DEBIAN_SECTIONS)])
def test_data_is_fetched_by_name(name: str, resource: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also the data set that only an experiment knows."""
    asked: list[object] = []
    monkeypatch.setattr("supermasks.cli.app.fetch_data", lambda *arguments: asked.extend(arguments))
    assert main(["data", "fetch", name, "--directory", str(tmp_path)]) == 0
    assert asked == [resource, tmp_path]


def test_a_run_is_not_overwritten(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "permuted-mnist", *SMALL, "--out", str(finished)]) == 2
    assert "--resume" in capsys.readouterr().err


def test_an_unknown_option_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["run", "permuted-mnist", "--taks", "3"])
    assert stopped.value.code == 2
    assert "--tasks" in "".join(capsys.readouterr())


def test_help_explains_the_scenarios_of_the_experiment_alone(capsys: pytest.CaptureFixture[str]) -> None:
    for experiment, has, lacks in (
        ("permuted-mnist", ("gnu", "nns"), ("gg",)),
        ("split-cifar", ("gg",), ("gnu", "nns")),
    ):
        with pytest.raises(SystemExit):
            main(["run", experiment, "--help"])
        printed = capsys.readouterr().out
        assert all(f'"{name}" (' in printed for name in has)
        assert not any(f'"{name}"' in printed for name in lacks)


def test_help_shows_the_settings_of_the_way_alone(capsys: pytest.CaptureFixture[str]) -> None:
    shown = {}
    for way in ("supsup", "exssnet", "individual", "lora"):
        with pytest.raises(SystemExit):
            main(["run", "pretrained-text" if way == "lora" else "split-cifar", "--way", way, "--help"])
        shown[way] = capsys.readouterr().out
    assert all(option in shown["exssnet"] for option in ("--rule", "--initial", "--together", "--mask-share"))
    assert "--rule" in shown["supsup"]
    assert "--together" not in shown["supsup"]
    assert "--rule" not in shown["individual"]
    assert "--epochs" in shown["individual"]
    assert all(option in shown["lora"] for option in ("--rank", "--weights", "--precision"))


def test_settings_of_a_way_are_refused_by_another(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["run", "split-cifar", "--way", "individual", "--together"])
    assert stopped.value.code == 2
    assert "--together" in "".join(capsys.readouterr())


def test_settings_are_written_as_they_are_in_python(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["run", "split-mnist", "--way", "exssnet", "--dataset", "sample", "--epochs", "0.1"]
    words += ["--rule", "TopK(ER(8))", "--initial", "kkt(examples=64)", "--out", str(tmp_path / "run")]
    assert main(words) == 0
    config = read_record(tmp_path / "run")["config"]
    assert config["way"] == describe(ExSSNeTWay(rule=TopK(ER(8)), initial=KKT(examples=64)))
    assert (config["training"]["steps"], config["training"]["epochs"]) == (None, 0.1)
    with pytest.raises(SystemExit):
        main(["run", "split-mnist", "--rule", "TopX(8)"])
    assert "Threshold" in "".join(capsys.readouterr())


def test_paper_lists_tables_what_they_need_and_their_records(capsys: pytest.CaptureFixture[str]) -> None:
    results = Path(__file__).parents[1] / "results"
    assert main(["paper", "--results", str(results)]) == 0
    shown = capsys.readouterr().out
    assert "Supermasks in Superposition" in shown
    assert "Exclusive Supermask" in shown
    assert "18 of 18" in shown  # of Table 2
    assert main(["paper", "supsup", "--results", "/nowhere"]) == 0
    assert "Exclusive Supermask" not in capsys.readouterr().out


def test_a_damaged_record_is_not_counted_as_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "record.json").write_text('{"schema": 2,')
    assert main(["paper", "--results", str(tmp_path)]) == 2
    assert "record.json" in capsys.readouterr().err


def test_of_an_option_that_is_given_twice_the_last_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["run", "split-mnist", "--way", "supsup", "--way", "ewc", "--dataset", "sample", "--steps", "2"]
    assert main([*words, "--strength", "3", "--out", str(tmp_path / "run")]) == 0
    assert "ewc" in (tmp_path / "run" / "record.json").read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["report", "runs"], "stopped"),
        (
            ["run", "split-mnist"],
            "stopped; what was learned is kept. Resume it by:  supermasks run split-mnist --resume",
        ),
        (
            ["compare", "split-mnist"],
            "stopped; what was learned is kept. Resume it by:  supermasks compare split-mnist",
        ),
    ],
)
def test_a_stop_says_what_is_kept(
    words: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("tyro.extras.SubcommandApp.cli", stop)
    assert main(words) == 130
    assert capsys.readouterr().err.strip() == said


def test_rows_of_a_table_are_shown_without_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["paper", "exssnet", "2", "--dry", "--only", "*, S-MNIST", "--out", str(tmp_path / "none")]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "DER++, S-MNIST" in shown
    assert "S-CIFAR100" not in shown.partition("needs")[0]
    assert "left out: the gates of CGATE" in shown
    assert "split-mnist-lenet-300-100-packnet" not in shown
    assert "runs 13;" in shown
    assert not (tmp_path / "none").exists()


def test_rows_are_shown_at_the_scale_that_would_be_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["paper", "supsup", "3", "--only", "PSP (GG)", "--seed", "7", "--dry"]
    for more, expected in (
        (["--scale", "small", "--tasks", "50", "--steps", "1000"], {"tasks: 50 instead of 250"}),
        (
            ["--scale", "small", "--tasks", "3", "--steps", "9"],
            {"tasks: 3 instead of 250", "steps a task: 9 instead of"},
        ),
        ([], set()),
    ):
        assert main([*words, *more]) == 0
        shown = " ".join(capsys.readouterr().out.split())
        assert all(words in shown for words in expected)
        assert ("instead of" in shown) == bool(expected)
        assert "psp-seed7" in shown.replace(" ", "")
        assert "runs 1;" in shown


def test_a_row_without_data_for_a_small_run_is_shown_as_left_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def none(*_: object) -> None:
        raise DataUnavailableError("no data")

    monkeypatch.setattr("supermasks.papers.Scale.small", none)
    assert main(["paper", "supsup", "3", "--only", "PSP (GG)", "--scale", "small", "--dry"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "left out: no data" in shown
    assert "runs 0;" in shown


def test_one_row_of_a_table_is_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["paper", "exssnet", "2", "--scale", "small", "--epochs", "0.1", "--steps", "4", "--out", str(tmp_path)]
    assert main([*words, "--only", "ER, S-MNIST"]) == 0
    (folder,) = tmp_path.rglob("record.json")
    assert "-er-60-" in folder.parent.name
    assert "DER" not in capsys.readouterr().out
    assert main([*words, "--only", "ER"]) == 2
    assert "expected the name of a row of Table 2, got 'ER'; its rows are: Multitask, S-MNIST;" in " ".join(
        capsys.readouterr().err.split()
    )


def test_a_small_table_prints_the_papers_numbers_beside_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SUPERMASKS_DATA", str(tmp_path / "none"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "none"))
    words = ["paper", "supsup", "3", "--scale", "small", "--tasks", "2", "--steps", "4", "--out", str(tmp_path)]
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert "93.65" in shown
    assert "after all 2 tasks" in shown
    assert "left out" not in shown
    assert "data: sample instead of mnist" in shown
    assert len(list(tmp_path.rglob("record.json"))) == 4  # H and G are one run; PSP, BatchEnsemble, the upper bound


def test_a_damaged_bank_is_named(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for file in (finished / "bank").rglob("*"):
        if file.is_file():
            copy = tmp_path / file.relative_to(finished)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(file.read_bytes())
    BankFolder(tmp_path / "bank").convert("shared")
    broken = tmp_path / "bank" / "tasks" / "000001.safetensors"
    broken.write_bytes(broken.read_bytes()[:-1])
    assert main(["inspect", str(tmp_path)]) == 2
    assert "000001.safetensors is truncated or altered" in capsys.readouterr().err
    assert main(["bank", "verify", str(tmp_path)]) == 2
    shown = capsys.readouterr()
    assert "tasks/000001.safetensors, task 'permuted-0001'" in shown.out
    assert "supermasks bank repair" in shown.err
    assert main(["bank", "repair", str(tmp_path)]) == 0
    assert "permuted-0001" in capsys.readouterr().out
    assert main(["bank", "verify", str(tmp_path)]) == 0
    assert "1 tasks" in capsys.readouterr().out
    assert (tmp_path / "bank" / "tasks" / "000001.safetensors.broken").exists()


def test_statistics_of_a_router_are_shown_checked_and_dropped(
    small: Callable[..., Learner], blobs: Callable[..., Task], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    learner = small(inference=LinearDiscriminant(features=RandomFeatures(10), bits=8))
    learner.learn(blobs("a"), progress=None)
    learner.save_pretrained(tmp_path)
    (moments,) = tmp_path.glob("moments-*")
    assert main(["inspect", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    shown = {words: next(line for line in lines if words in line) for words in ("means of", "statistics that all")}
    assert str(3 * (10 + 4 + 4 + 8)) in shown["means of"]
    assert f"{moments.stat().st_size:,}" in shown["statistics that all"]
    moments.write_bytes(moments.read_bytes()[:-1])
    assert main(["bank", "verify", str(tmp_path)]) == 2
    assert f"{moments.name}: {moments} is truncated or altered" in capsys.readouterr().out
    assert main(["bank", "repair", str(tmp_path)]) == 0
    assert main(["bank", "verify", str(tmp_path)]) == 0
    assert "1 tasks" in capsys.readouterr().out


def test_a_task_that_keeps_a_router_from_recognising_any_is_reported_and_stays(
    small: Callable[..., Learner], blobs: Callable[..., Task], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    learner = small(inference=LinearDiscriminant(features=RandomFeatures(10), bits=8))
    learner.learn(blobs("a"), progress=None)
    moments = learner.bank.moments
    learner.learn(blobs("b"), progress=None)
    learner.bank.count(moments, {})
    learner.save(tmp_path)
    assert main(["bank", "verify", str(tmp_path)]) == 2
    shown = capsys.readouterr()
    assert "tasks/000001.safetensors, task 'b': expected a task that the statistics of the bank hold" in shown.out
    assert "no file of" in shown.err
    assert "repair" not in shown.err
    assert main(["bank", "repair", str(tmp_path)]) == 0
    assert "2 tasks" in capsys.readouterr().out


def test_ctrl_c_leaves_a_run_that_can_be_resumed(finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    command = [sys.executable, "-m", "supermasks", "run", "permuted-mnist", *SMALL, "--out", str(out)]
    command[command.index("8")] = "400"
    process = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        # Tests that run in the background inherit that Ctrl-C is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    deadline = monotonic() + 120
    while not (out / "learned.jsonl").exists() and monotonic() < deadline:
        sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, shown = process.communicate(timeout=300)
    assert process.returncode == 130
    assert "--resume" in shown
    assert "Traceback" not in shown
    assert not (out / "record.json").exists()
    assert subprocess.run([*command, "--resume"], capture_output=True, check=True)
    assert read_record(out)["tasks"] == 2


def test_verify_tells_whether_the_bank_fits_a_network(
    finished: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "supermasks.nets:lenet_300_100"
    monkeypatch.setattr("supermasks.nets.lenet_300_100", lambda: fully_connected([784, 300, 100, 20]))
    assert main(["bank", "verify", str(finished), "--backbone", name]) == 0
    assert "all files sound" in capsys.readouterr().out
    monkeypatch.setattr("supermasks.nets.lenet_300_100", lambda: fully_connected([784, 300, 100, 50]))
    assert main(["bank", "verify", str(finished), "--backbone", name]) == 2
    assert "learned over" in capsys.readouterr().err
    for wrong in ("supermasks.nets", "nowhere:f", "math:pi", "builtins:dict"):
        assert main(["bank", "verify", str(finished), "--backbone", wrong]) == 2
        assert "error: " in capsys.readouterr().err


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no device that is always full")
def test_a_version_that_cannot_be_written_is_an_error() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "supermasks", "--version"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stderr) == (2, "error: [Errno 28] No space left on device\n")
