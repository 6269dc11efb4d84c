"""The baselines as ways of an experiment: each runs on a small SplitCIFAR, and its record says what it costs."""

import shutil
from collections.abc import Callable
from pathlib import Path
from time import sleep

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_experiments import split
from torch import nn

from supermasks.bank import BankFolder
from supermasks.bases import RandomBase
from supermasks.errors import RunStateError
from supermasks.experiments import Silent, read_record, run
from supermasks.experiments.architectures.fully_connected import LeNet300
from supermasks.experiments.ways.trunk import TRUNK, trunk_seconds
from supermasks.spec import describe
from supermasks.training import Adam

KEEPS = ("packnet", "wsn", "multitask")
FORGETS = ("si", "lwf", "er", "agem", "der", "derpp", "icarl", "regularised-replay", "psp")
REMEMBERS = ("er", "agem", "der", "derpp", "icarl", "regularised-replay")


@pytest.mark.parametrize("name", [*KEEPS, *FORGETS])
def test_a_baseline_learns_the_tasks(name: str, tmp_path: Path) -> None:
    run(split(name, tasks=2), tmp_path, command=["supermasks"])
    record, bank = read_record(tmp_path), BankFolder(tmp_path / "bank")
    accuracy = record["accuracy"]
    assert accuracy["mean"] > 0.3  # chance is 0.2
    assert (accuracy["forgetting"] == 0) == (name in KEEPS)
    taken = bank.bytes()
    assert (taken.examples > 0) == (name in REMEMBERS)
    assert (tmp_path / TRUNK).exists() == (name == "multitask")


@pytest.mark.parametrize("name", ["multitask", "separate-heads"])
def test_heads_over_a_trunk_have_the_rate_of_heads(name: str, tmp_path: Path) -> None:
    """`head_rate` is for a head beside a trunk; heads alone had the rate of the trunk, and stayed where they were."""
    alone = split(name, tasks=2, optimiser=Adam(1e-4), head_rate=30.0, head_first=0.5)
    assert alone.training_of(0) == alone.training_of(1)
    assert (alone.training_of(0).head_rate, alone.training_of(0).head_first) == (1.0, 0.0)
    learner = run(alone, tmp_path / "alone", command=["supermasks"]).learner
    assert learner.training == alone.training_of(1)
    shutil.copytree(tmp_path / "alone", tmp_path / "same", ignore=lambda _, names: [n for n in names if n != TRUNK])
    same = run(split(name, tasks=2, optimiser=Adam(3e-3)), tmp_path / "same", command=["supermasks"]).learner
    for task in learner.tasks:  # the same trunk, and heads at the same rate
        for parameter, change in learner.bank[task].changes.items():
            base = torch.zeros(change.shape)
            assert torch.equal(change.applied(base), same.bank[task].changes[parameter].applied(base))


@pytest.mark.parametrize("name", ["multitask", "separate-heads"])
def test_the_training_of_a_trunk_counts(name: str, tmp_path: Path) -> None:
    class Slow(Silent):
        learning = False

        def begin(self, what: str, total: int) -> None:
            self.learning = self.learning or what == "learning"

        def step(self, done: int, total: int) -> None:
            if done == 1 and not self.learning:
                sleep(0.7)

    experiment = split(name, tasks=2)
    record = run(experiment, tmp_path, watcher=Slow()).record
    tasks = sum(record["growth"]["seconds"])
    assert record["seconds"]["train"] - tasks > 0.7
    (tmp_path / "record.json").unlink()
    again = run(experiment, tmp_path, resume=True).record
    assert again["seconds"]["train"] == record["seconds"]["train"]
    save_file(load_file(tmp_path / TRUNK), tmp_path / TRUNK)  # as older versions wrote it
    (tmp_path / "record.json").unlink()
    assert run(experiment, tmp_path, resume=True).record["seconds"]["train"] == tasks


def normalised() -> nn.Sequential:
    """A network with batch normalisation and biases, for digits, five at a time."""
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Linear(12, 5))


@pytest.fixture
def with_statistics(monkeypatch: pytest.MonkeyPatch) -> LeNet300:
    net = LeNet300(outputs=5)
    monkeypatch.setattr(LeNet300, "module", lambda self, tasks, data=None: normalised())
    return net


@pytest.mark.parametrize("settings", [{}, {"statistics_batches": 3}])
@pytest.mark.parametrize("name", ["multitask", "separate-heads"])
def test_a_trained_trunk_keeps_its_statistics(
    with_statistics: LeNet300, name: str, settings: dict[str, int], tmp_path: Path
) -> None:
    """A plain module with the values of the file, and with the head of a task, gives the same logits."""
    experiment = split(name, tasks=2, net=with_statistics, **settings)
    first = run(experiment, tmp_path, command=["supermasks"])
    (tmp_path / "record.json").unlink()
    again = run(experiment, tmp_path, resume=True, command=["supermasks"])
    plain, values = normalised(), load_file(tmp_path / TRUNK)
    # Over random weights, biases are 0 and nothing is scaled.
    constants = {"1.bias": torch.zeros(12), "2.weight": torch.ones(12), "2.bias": torch.zeros(12)}
    for task in first.tasks:
        state, inputs = first.learner.bank[task.name], task.test.batch(torch.arange(50))[0]
        assert not state.buffers
        head = {name: change.applied(torch.zeros(change.shape)) for name, change in state.changes.items()}
        plain.load_state_dict({**values, **constants, **head})
        expected = plain.eval()(inputs)
        answers = [each.learner.network.logits(inputs, each.learner.bank[task.name]) for each in (first, again)]
        torch.testing.assert_close(answers[0], expected, rtol=1e-5, atol=1e-5)
        assert torch.equal(*answers)
    sizes = read_record(tmp_path)["bytes"]
    assert (sizes["norm"], sizes["trunk"]) == (0, (tmp_path / TRUNK).stat().st_size)
    assert sorted(values) == ["1.weight", "2.num_batches_tracked", "2.running_mean", "2.running_var"]


def test_the_statistics_of_a_trunk_are_those_of_its_training(with_statistics: LeNet300, tmp_path: Path) -> None:
    """Individual training begins with the same random numbers, so that its first task has the same trunk."""
    ways = ("separate-heads", "separate-heads-random", "individual")
    for name in ways:
        run(split(name, tasks=2, net=with_statistics), tmp_path / name, command=["supermasks"])
    _, random, trained = (BankFolder(tmp_path / name / "bank").open().states[0].buffers for name in ways)
    values = load_file(tmp_path / "separate-heads" / TRUNK)
    assert len(trained) == 3
    assert all(torch.equal(values[name], value) for name, value in trained.items())
    assert random.keys() == trained.keys()  # nobody else has trained that trunk


DAMAGES: dict[str, Callable[[Path], object]] = {
    "cut off": lambda file: file.write_bytes(file.read_bytes()[:-1]),
    "empty": lambda file: file.write_bytes(b""),
    "a folder": lambda file: (file.unlink(), file.mkdir()),
    "no seconds": lambda file: save_file(load_file(file), file, {"seconds": "some"}),
    "another name": lambda file: save_file({f"{name}s": value for name, value in load_file(file).items()}, file),
    "no weight": lambda file: save_file({}, file),
    "another shape": lambda file: save_file({name: value[..., None] for name, value in load_file(file).items()}, file),
    "another type": lambda file: save_file({name: value.double() for name, value in load_file(file).items()}, file),
    "one more": lambda file: save_file({**load_file(file), "more": torch.zeros(1)}, file),
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    run(split("separate-heads", tasks=2), folder, command=["supermasks"])
    return folder


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_trunk_is_an_error_in_one_line(finished: Path, tmp_path: Path, damage: str) -> None:
    shutil.copytree(finished, tmp_path / "run")
    (tmp_path / "run" / "record.json").unlink()
    DAMAGES[damage](tmp_path / "run" / TRUNK)
    with pytest.raises(RunStateError, match=r"^[^\n]*trunk\.safetensors (cannot be read: |holds the trunk of )[^\n]*$"):
        run(split("separate-heads", tasks=2), tmp_path / "run", resume=True)


@pytest.mark.parametrize("damage", ["cut off", "empty", "a folder", "no seconds"])
def test_the_seconds_of_a_damaged_trunk_cannot_be_read(finished: Path, tmp_path: Path, damage: str) -> None:
    shutil.copyfile(finished / TRUNK, tmp_path / TRUNK)
    DAMAGES[damage](tmp_path / TRUNK)
    with pytest.raises(RunStateError, match=r"trunk\.safetensors cannot be read"):
        trunk_seconds(tmp_path)


def test_a_trunk_of_an_older_version_which_has_the_head_can_be_resumed(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "run")
    (tmp_path / "run" / "record.json").unlink()
    values = load_file(finished / TRUNK)
    save_file({**values, "11.weight": torch.zeros(5, 84)}, tmp_path / "run" / TRUNK)
    again = run(split("separate-heads", tasks=2), tmp_path / "run", resume=True).record
    assert again["accuracy"] == read_record(finished)["accuracy"]


def test_settings_of_a_way_reach_its_method(tmp_path: Path) -> None:
    run(split("derpp", tasks=2, memory=7, alpha=0.4, beta=0.2), tmp_path, command=["supermasks"])
    settings = BankFolder(tmp_path / "bank").open().header.settings["method"]
    assert {key: settings[key] for key in ("type", "memory", "alpha", "beta")} == {
        "type": "DERpp",
        "memory": 7,
        "alpha": 0.4,
        "beta": 0.2,
    }
    examples = {name for name in BankFolder(tmp_path / "bank").open().memory if name.startswith("example ")}
    assert examples >= {"example inputs", "example logits", "example targets"}


def test_batch_ensemble_begins_with_the_weights_of_its_paper(tmp_path: Path) -> None:
    for name in ("signed_kaiming_constant", "kaiming_normal"):
        run(split("batch-ensemble", tasks=1, initialisation=name), tmp_path / name, command=["supermasks"])
        assert BankFolder(tmp_path / name / "bank").open().header.base == describe(RandomBase(0, name))
