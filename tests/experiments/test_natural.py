"""Natural tasks whose task is inferred: what they are made of, and that they are found, on the embedded digits."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_experiments import changed

import supermasks.datasets
from supermasks.datasets import write_idx
from supermasks.errors import ConfigError
from supermasks.experiments import EXPERIMENTS, Experiment, run
from supermasks.experiments.architectures.fully_connected import LeNet300
from supermasks.experiments.architectures.text import Encoder
from supermasks.experiments.evaluations import TaskInferred
from supermasks.experiments.tasks.mixed import Mixed
from supermasks.experiments.tasks.source import Limits
from supermasks.experiments.tasks.split import SplitCIFAR10, SplitFashion, SplitMNISTUnknown
from supermasks.experiments.tasks.tenants import Tenants
from supermasks.inference import OneShot
from supermasks.report import write_report
from supermasks.router import Auto, Flat, Joined, LinearDiscriminant, Patches, Tokens, Trunk

SAMPLE = Path(supermasks.datasets.__file__).parent / "images" / "sample"
NOWHERE = Path("nowhere")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded digits as MNIST; noise as the other data sets, some images of each class."""
    folder, random = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    shutil.copytree(SAMPLE, folder / "mnist")

    def write(name: str, part: str, labels: np.ndarray, kind: str) -> None:
        (folder / name).mkdir(exist_ok=True)
        write_idx(
            folder / name / f"{part}-images-idx3-ubyte", random.integers(0, 256, (len(labels), 28, 28), dtype=np.uint8)
        )
        write_idx(folder / name / f"{part}-labels-idx1-{kind}", labels)

    for part, count in (("train", 1000), ("t10k", 2000)):
        write("fashion-mnist", part, (np.arange(count) % 10).astype(np.uint8), "ubyte")
        write("quickdraw", part, (np.arange(count) % 40).astype(np.int16), "short")
    (folder / "quickdraw" / "classes.txt").write_text("".join(f"thing {n}\n" for n in range(40)))
    (folder / "cifar10").mkdir()
    for name in (*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"):
        pixels = random.integers(0, 256, (20, 3072), dtype=np.uint8)
        records = np.concatenate([(np.arange(20, dtype=np.uint8) % 10)[:, None], pixels], axis=1)
        (folder / "cifar10" / f"{name}.bin").write_bytes(records.tobytes())
    (folder / "cifar10" / "batches.meta.txt").write_text("".join(f"kind{n}\n" for n in range(10)))
    return folder


def small(name: str, **settings: object) -> Experiment:
    """Return an experiment with few steps, a small network, and few features."""
    usual = EXPERIMENTS[name].of()
    assert isinstance(usual.evaluation, TaskInferred)
    router = LinearDiscriminant(features=Patches(filters=30, pool=2))
    inference = Auto(router=router, others=()) if usual.evaluation.calibrate else router
    return changed(usual, **{"inference": inference, "steps": 60, "net": LeNet300(20), **settings})


def test_mixed_has_natural_tasks_of_four_data_sets(data: Path) -> None:
    stream = Mixed().stream(data, seed=0)
    assert len(stream) == Mixed().count == 25
    assert [len(task.classes) for task in stream] == [2] * 10 + [3] * 10 + [2] * 5
    assert {task.train.shape for task in stream} == {(1, 28, 28)}
    assert len({task.name for task in stream}) == 25
    assert [task.name for task in stream][::10] == [
        "mnist-split-0-1",
        stream[10].name,
        "cifar10-split-kind0-kind1",
    ]
    sketches = {label for task in list(stream)[10:20] for label in task.classes}
    other = {label for task in list(Mixed().stream(data, seed=1))[10:20] for label in task.classes}
    assert len(sketches) == len(other) == 30
    assert sketches != other


def test_mixed_by_domain_has_a_task_of_each_data_set(data: Path) -> None:
    stream = Mixed(by="domain").stream(data, seed=0)
    assert [task.name for task in stream] == ["mnist", "fashion-mnist", "quickdraw", "cifar10"]
    assert [len(task.classes) for task in stream] == [10, 10, 30, 10]
    in_parts = {label for task in list(Mixed().stream(data, seed=0))[10:20] for label in task.classes}
    assert set(stream[2].classes) == in_parts


def test_tenants_share_out_the_tasks_among_the_kinds(data: Path) -> None:
    names = [task.name for task in Tenants(tasks=14, datasets=("mnist", "quickdraw", "fashion-mnist")).stream(data, 0)]
    kinds = ("mnist-rotated", "quickdraw-split", "mnist-permuted", "fashion-mnist-permuted")
    assert [sum(name.startswith(kind) for name in names) for kind in kinds] == [3, 3, 4, 4]
    assert len(set(names)) == 14
    assert [Tenants(tasks=n).count for n in (1, 1000)] == [1, 1000]
    assert sum(Tenants()._counts().values()) == 1000
    assert Tenants()._counts()["quickdraw", "threes"] == 115
    with pytest.raises(ConfigError, match="at most 115 tasks of quickdraw, got 116"):
        Tenants(tasks=116, datasets=("quickdraw",))


def test_small_versions_take_the_data_at_hand(data: Path) -> None:
    few = Limits(tasks=5, examples=100)
    assert Mixed().small(few, NOWHERE) == Mixed(datasets=("sample",))
    assert Mixed().small(few, data) == Mixed(by="domain")
    assert Mixed().small(Limits(3, 100), data) == Mixed(by="domain", datasets=("mnist", "fashion-mnist", "quickdraw"))
    assert Tenants().small(few, NOWHERE) == Tenants(tasks=5, datasets=("sample",))
    assert Tenants().small(few, data) == Tenants(tasks=5)
    for source, there in (
        (SplitMNISTUnknown(), "mnist"),
        (SplitFashion(), "fashion-mnist"),
        (SplitCIFAR10(), "cifar10"),
    ):
        assert source.small(few, NOWHERE) == replace(source, dataset="sample")
        assert source.small(few, data) == replace(source, dataset=there)
    assert SplitCIFAR10().stream(data, 0)[0].name == "split-kind0-kind1"


def test_digits_are_found_and_foreign_images_are_told(data: Path, tmp_path: Path) -> None:
    shown = small("split-mnist-unknown", dataset="sample", foreign="fashion-mnist")
    record = run(shown, tmp_path / "run", data).record
    assert record["scenario"] == "GNu"
    accuracy, found = record["accuracy"], record["task_identification"]
    assert found > 0.9 > record["baselines"]["mean_input_router"]["each_input"]
    assert accuracy["mean"] <= min(found, accuracy["task_given"])
    assert accuracy["mean"] > 0.85
    assert accuracy["forgetting"] == 0
    calibration = record["calibration"]
    assert calibration["compared"].keys() == {"LinearDiscriminant", "Fused"}
    assert calibration["inference"]["type"] in calibration["compared"]
    foreign = record["foreign"]
    assert foreign["foreign_auroc"] > 0.99
    assert foreign["confidence_auroc"] > 0.8
    assert foreign["confidence"] == pytest.approx(foreign["task_identification"], abs=0.05)


def test_a_calibration_and_its_validation_examples_go_together() -> None:
    with pytest.raises(ConfigError, match="needs validation examples"):
        small("split-mnist-unknown", validation=0.0)
    with pytest.raises(ConfigError, match="nothing uses"):
        small("split-mnist-unknown", calibrate=False)


def test_foreign_images_of_another_shape_are_refused_before_anything_is_learned(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"\(1, 28, 28\), got \(3, 32, 32\)"):
        run(small("split-mnist-unknown", dataset="sample", foreign="cifar10"), tmp_path / "run", data)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["mixed", "tenants"])
def test_tasks_of_several_kinds_are_found(name: str, data: Path, tmp_path: Path) -> None:
    shown = (
        small(name, datasets=("sample",)) if name == "mixed" else small(name, datasets=("sample",), tasks=6, steps=20)
    )
    if name == "tenants":
        shown = changed(shown, inference=LinearDiscriminant(features=Flat(), per="task"))
    record = run(shown, tmp_path / "run", data).record
    # Neighbouring angles are close to each other; permutations are not.
    assert record["task_identification"] > (0.9 if name == "mixed" else 0.75)
    assert record["accuracy"]["mean"] <= record["task_identification"]


def test_texts_are_found_over_an_encoder_where_each_task_has_its_own_head(
    tmp_path: Path, write_texts: Callable[..., None], net: Path
) -> None:
    topics = {"a": ["sea", "sky"], "b": ["land"], "c": ["sky"]}
    for name, of in topics.items():
        write_texts(tmp_path / name, of)
    settings = {"datasets": ("a", "b", "c"), "tokenizer": str(net), "net": Encoder(model=str(net)), "length": 7}
    texts = changed(
        EXPERIMENTS["text"].of(),
        **settings,
        inference=LinearDiscriminant(features=Joined((Trunk(), Tokens(50)))),
        train_texts=50,
        test_texts=20,
        batch_size=10,
    )
    finished = run(texts, tmp_path / "run", tmp_path)
    assert [(len(task.train), len(task.test or ())) for task in finished.tasks] == [(50, 20)] * 3
    found = dict(zip(topics, finished.record["evaluations"][0]["per_task"], strict=True))
    assert found["b"] > 0.9
    assert finished.record["task_identification"] > 0.7  # half of the texts of "a" are like those of "c"
    assert finished.record["baselines"] == {}
    report = write_report([tmp_path / "run"], tmp_path / "report")
    assert "text, 3 tasks (GNu)" in report.read_text(encoding="utf-8")
    with pytest.raises(ConfigError, match=r"supermasks\.router"):
        changed(texts, inference=OneShot())
    with pytest.raises(ConfigError, match="test_texts must be an integer of at least 1, got 0"):
        changed(texts, test_texts=0)
