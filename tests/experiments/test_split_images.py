"""SplitCIFAR and its like on the embedded images and a small network: all ways to keep tasks apart, and their bytes."""

from math import prod
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from small_experiments import changed, split
from states import dense

from supermasks.bank import BankFolder, csc_bytes
from supermasks.bases import RandomBase
from supermasks.errors import ConfigError
from supermasks.experiments import EXPERIMENTS, Experiment, Silent, read_record, run
from supermasks.masks import ER, Mask, TopK
from supermasks.nets import resnet18
from supermasks.network import Network
from supermasks.report import write_report
from supermasks.scores import KKT, MeanOfMasks, MeanOfScores
from supermasks.training import SGD, Adam, CropAndFlip
from supermasks.workers import LocalProcesses

SMALL = split()
WEIGHTS = 6 * 25 + 16 * 6 * 25 + 16 * 25 * 120 + 120 * 84 + 84 * 2
DESCENT = SGD(0.3, weight_decay=5e-4, nesterov=True)
WAYS: dict[str, Experiment] = {
    "supsup": split("supsup"),
    "supsup-small": split("supsup", rule=TopK(ER(8))),
    "transfer-masks": split("supsup", initial=MeanOfMasks()),
    "transfer-scores": split("supsup", initial=MeanOfScores()),
    "ssnet": split("ssnet", rule=TopK(0.3)),
    "exssnet": split("exssnet", rule=TopK(0.3)),
    "exssnet-kkt": split("exssnet", rule=TopK(0.3), initial=KKT()),
    "exssnet-int4": split("exssnet", rule=TopK(0.3), weights="int4", together=True),
    "exssnet-sgd": split("exssnet", rule=TopK(0.3), weight_optimiser=DESCENT),
    "individual": split("individual"),
    "individual-warm": split("individual-warm"),
    "separate-heads": split("separate-heads"),
    "separate-heads-random": split("separate-heads-random"),
    "sequential": split("sequential"),
    "ewc": split("ewc"),
    "batch-ensemble": split("batch-ensemble"),
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    for name, experiment in WAYS.items():
        run(experiment, folder / name, command=["supermasks"])
    return folder


def test_all_ways_learn_two_classes_better_than_chance(runs: Path) -> None:
    means = {name: read_record(runs / name)["accuracy"]["mean"] for name in WAYS}
    with_heads = ("separate-heads", "separate-heads-random", "sequential", "ewc")
    assert all(mean > 0.6 for name, mean in means.items() if name not in with_heads)
    assert means["separate-heads-random"] > 0.6
    forgetting = {name: read_record(runs / name)["accuracy"]["forgetting"] for name in WAYS}
    assert forgetting.pop("sequential") > 0.02
    forgetting.pop("ewc")
    forgetting.pop("ssnet")
    assert set(forgetting.values()) == {0}
    matrix = read_record(runs / "ssnet")["accuracy"]["matrix"]  # it trains weights that earlier tasks use
    assert any(row[task] != matrix[task][task] for number, row in enumerate(matrix) for task in range(number))


def test_no_two_ways_are_secretly_the_same(runs: Path) -> None:
    """They may be right about as many images, but their tasks are not the same bytes."""
    banks = [BankFolder(runs / name / "bank").open() for name in WAYS]
    assert {len(bank) for bank in banks} == {5}
    assert len({tuple(bank.digest(name) for name in bank.names) for bank in banks}) == len(banks)


def test_bytes_are_those_of_the_formulas_and_of_the_files(runs: Path) -> None:
    records = {name: read_record(runs / name) for name in WAYS}
    for name, record in records.items():
        sizes, files = record["bytes"], [f for f in (runs / name / "bank").rglob("*") if f.is_file()]
        assert sizes["total"] + sizes["memory"] == sum(f.stat().st_size for f in files)
        assert (
            sizes["total"]
            == sizes["masks"] + sizes["owned"] + sizes["shared"] + sizes["dense"] + sizes["norm"] + sizes["other"]
        )
    packed = 5 * sum(-(-n // 8) for n in (150, 2400, 48000, 10080, 168))
    for name in ("supsup", "supsup-small"):
        sizes = records[name]["bytes"]
        assert sizes["packed"] == packed
        # Few steps: most scores are where they began, and the numbers that they began with are not stored.
        assert 0.1 * sizes["entropy_bound"] < sizes["masks"] < 0.7 * sizes["entropy_bound"]
    kept = records["exssnet"]["bytes"]["entropy_bound"]
    assert records["exssnet-int4"]["bytes"]["owned"] < records["exssnet"]["bytes"]["owned"] / 6
    assert records["exssnet-int4"]["bytes"]["masks"] < kept * 1.01 + 5 * 8
    assert records["supsup"]["bytes"]["owned"] == 0
    assert records["individual"]["bytes"]["dense"] == 5 * 4 * WEIGHTS
    assert records["separate-heads"]["bytes"]["dense"] == 5 * 4 * 84 * 2
    assert 4 * WEIGHTS > records["separate-heads"]["bytes"]["trunk"] > 4 * (WEIGHTS - 84 * 2)
    # The running mean of all scores, once for all tasks; the mean of masks needs nothing.
    assert records["transfer-scores"]["bytes"]["memory"] > 4 * WEIGHTS
    assert {records[name]["bytes"]["memory"] for name in WAYS if name not in ("transfer-scores", "ewc")} == {0}


def dense_of(out: Path, number: int) -> dict[str, torch.Tensor]:
    """The weights that a task has of its own."""
    return dense(BankFolder(out / "bank").open().states[number])


def test_the_trunk_is_that_of_a_network_trained_on_the_first_task_alone(runs: Path) -> None:
    """Individual training begins with the same random numbers, so that its first task has the very same weights."""
    trunk = load_file(runs / "separate-heads" / "trunk.safetensors")
    first = dense_of(runs / "individual", 0)
    assert first.keys() - trunk.keys() == {"11.weight"}  # the head
    assert all(torch.equal(value, first[name]) for name, value in trunk.items())


def test_warm_networks_begin_with_the_one_before(runs: Path) -> None:
    cold, warm = (dense_of(runs / name, 0) for name in ("individual", "individual-warm"))
    assert all(torch.equal(cold[name], warm[name]) for name in cold)
    cold, warm = (dense_of(runs / name, 1) for name in ("individual", "individual-warm"))
    assert any(not torch.equal(cold[name], warm[name]) for name in cold)


class StopAt(Silent):
    """Presses Ctrl-C at a step, counted over all that is trained."""

    def __init__(self, step: int) -> None:
        self.left = step

    def step(self, done: int, total: int) -> None:
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


@pytest.mark.parametrize(
    "name",
    [
        "transfer-scores",
        "transfer-masks",
        "exssnet-kkt",
        "exssnet-int4",
        "separate-heads",
        "individual-warm",
        "sequential",
    ],
)
@pytest.mark.parametrize("step", [pytest.param(5, marks=pytest.mark.nightly), 20])
def test_a_stopped_run_is_resumed_to_the_same_bank(runs: Path, tmp_path: Path, name: str, step: int) -> None:
    experiment = WAYS[name]
    with pytest.raises(KeyboardInterrupt):
        run(experiment, tmp_path / "run", watcher=StopAt(step))
    run(experiment, tmp_path / "run", resume=True)
    ours, theirs = (BankFolder(out / "bank").open() for out in (tmp_path / "run", runs / name))
    assert ours.names == theirs.names
    assert [ours.digest(task) for task in ours.names] == [theirs.digest(task) for task in theirs.names]
    assert ours.memory.keys() == theirs.memory.keys()
    assert all(torch.equal(ours.memory[key], value) for key, value in theirs.memory.items())
    assert not list((tmp_path / "run").glob("checkpoint*"))


def test_the_picture_of_accuracy_against_bytes_is_drawn(runs: Path, tmp_path: Path) -> None:
    report = write_report([runs / name for name in ("supsup", "supsup-small", "individual")], tmp_path / "report")
    assert "tradeoff.png" in report.read_text(encoding="utf-8")
    assert (tmp_path / "report" / "tradeoff.png").stat().st_size > 10_000
    write_report([runs / "individual"], tmp_path / "one")
    assert not (tmp_path / "one" / "tradeoff.png").exists()


# SupSup, Table 2: bytes of all 20 tasks by budget.
TABLE_2_BYTES = {1: 408432, 2: 508432, 4: 695592, 8: 1035792, 16: 1630032, 32: 2487472}


@pytest.mark.parametrize("budget", TABLE_2_BYTES)
def test_the_papers_bytes_are_those_of_its_table(budget: int) -> None:
    """Masks of the ResNet-18 with the budget's densities, and 1,500 means and variances in float32; 20 tasks."""
    network = Network(resnet18(5), RandomBase(0))
    kept = {}
    for name, density in ER(budget).densities(network.shapes).items():
        entries = torch.zeros(prod(network.shapes[name]), dtype=torch.bool)
        entries[: int(density * entries.numel())] = True
        kept[name] = entries.view(network.shapes[name])
    assert 20 * (csc_bytes(Mask.pack(kept)) + 12_000) == pytest.approx(TABLE_2_BYTES[budget], abs=20 * 21)


def test_the_papers_settings_are_the_defaults() -> None:
    cifar, imagenet = EXPERIMENTS["split-cifar"].of(), EXPERIMENTS["split-imagenet"].of()
    assert (cifar.tasks.count, cifar.tasks.data_sets, cifar.net.title) == (20, ("cifar100",), "resnet-18")
    assert (cifar.training.epochs, cifar.training.batch_size, cifar.training.optimiser) == (250, 128, Adam(1e-3))
    assert (imagenet.tasks.count, imagenet.net.title) == (100, "resnet-50")
    assert (imagenet.training.epochs, imagenet.training.batch_size, imagenet.training.warmup) == (100, 256, 0.05)


def test_classes_are_shared_out_at_random_by_the_seed() -> None:
    classes = [[task.classes for task in split(seed=seed).stream()] for seed in (0, 1)]
    assert classes[0] != classes[1]
    for one in classes:
        assert sorted(label for task in one for label in task) == list(range(10))


def test_validation_is_taken_from_training_images() -> None:
    task = split(validation=0.25, select_best=True).stream()[0]
    assert task.validation is not None
    assert (len(task.train), len(task.validation)) == (300, 100)
    rows, held = task.train.rows, task.validation.rows
    assert rows is not None
    assert held is not None
    assert not set(rows.tolist()) & set(held.tolist())
    with pytest.raises(ConfigError, match="add select_best"):
        split(validation=0.25)


def test_weights_beside_a_mask_have_an_optimiser_of_their_own(tmp_path: Path) -> None:
    tasks = SMALL.stream()
    training = WAYS["exssnet-sgd"].learner(tasks, tmp_path, Silent().step).training
    assert (training.optimiser, training.weight_optimiser) == (Adam(3e-3), DESCENT)
    for way in ("supsup", "individual"):
        with pytest.raises(ConfigError, match="trains no weights beside a mask"):
            split(way, weight_optimiser=DESCENT).learner(tasks, tmp_path, Silent().step)


def test_images_can_be_augmented() -> None:
    learner = split(augmentation=CropAndFlip(0)).learner(SMALL.stream(), Path("unused"), Silent().step)
    assert learner.training.augmentation == CropAndFlip(0)


def test_later_tasks_may_have_fewer_epochs(tmp_path: Path) -> None:
    settings = split(tasks=2, classes_per_task=5, later_epochs=0.25)
    tasks, out = settings.stream(), tmp_path / "run"
    run(settings, out)
    bank = BankFolder(out / "bank").open()
    for number, epochs in enumerate((1, 0.25)):
        learner = changed(settings, epochs=epochs).learner(tasks, out, lambda done, total: None)
        learner.learn(tasks[number])
        assert learner.bank[tasks[number].name].mask == bank[tasks[number].name].mask
    with pytest.raises(ConfigError, match="workers"):
        run(settings, tmp_path / "apart", workers=LocalProcesses(2))


def test_learning_curves_are_recorded_where_the_best_epoch_is_selected(tmp_path: Path) -> None:
    settings = split(tasks=2, classes_per_task=2, epochs=3, validation=0.1, select_best=True)
    record = run(settings, tmp_path / "run").record
    assert [len(curve) for curve in record["curves"]] == [3, 3]
    assert all(0 <= accuracy <= 1 for curve in record["curves"] for accuracy in curve)
    assert run(changed(settings, validation=0.0, select_best=False), tmp_path / "other").record["curves"] == [[], []]
