"""Adapters of PEFT and other small trained parts of an encoder: each learns, forgets nothing, and says its bytes."""

from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any

import pytest
import torch
from small_experiments import changed

from supermasks.bank import BankFolder
from supermasks.errors import ConfigError
from supermasks.experiments import EXPERIMENTS, Experiment, run
from supermasks.experiments.architectures.text import Encoder
from supermasks.experiments.ways.adapters import LoRAWay, TrainedPartWay
from supermasks.methods import Individual
from supermasks.methods.experience_replay import ExperienceReplay
from supermasks.methods.sequential import Sequential
from supermasks.spec import kinds
from supermasks.training import Adam

pytest.importorskip("peft")

WIDTH, INNER, LAYERS = 16, 32, 2  # of the encoder
BIASES = WIDTH + LAYERS * (4 * WIDTH + INNER + WIDTH + 2 * WIDTH)
EXPECTED = {
    "bitfit": (BIASES, {}),
    "lora": (LAYERS * 2 * (WIDTH + WIDTH) * 3, {"rank": 3}),
    "ia3": (LAYERS * (2 * WIDTH + WIDTH + INNER), {}),
    "vera": (LAYERS * 2 * (WIDTH + 8), {"rank": 8}),
    "fourierft": (LAYERS * 2 * 20, {"frequencies": 20}),
    "ln-tuning": ((1 + 2 * LAYERS) * 2 * WIDTH, {}),
    "prompt-tuning": (2 * WIDTH, {"tokens": 2}),
    "prefix-tuning": (2 * LAYERS * 2 * WIDTH, {"tokens": 2}),
}
"""How many numbers each way trains, with these settings."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, write_texts: Callable[..., None]) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_texts(folder / "two", ["sea", "sky"])
    write_texts(folder / "three", ["sea", "sky", "land"])
    return folder


@pytest.fixture
def small(net: Path) -> Callable[..., Experiment]:
    def make(way: str, **settings: Any) -> Experiment:
        usual = {
            "datasets": ("two", "three"),
            "tokenizer": str(net),
            "net": Encoder(model=str(net)),
            "length": 6,
            "epochs": 10,
            "batch_size": 10,
            "optimiser": Adam(3e-2),
        }
        return changed(EXPERIMENTS["pretrained-text"].of(way), **{**usual, **settings})

    return make


def test_every_way_is_tested() -> None:
    assert {kind.name for kind in kinds(TrainedPartWay)} == EXPECTED.keys()


@pytest.mark.parametrize("name", EXPECTED)
def test_each_task_has_its_own_part_in_few_bytes(
    name: str, small: Callable[..., Experiment], data: Path, net: Path, tmp_path: Path
) -> None:
    numbers, settings = EXPECTED[name]
    finished = run(small(name, **settings), tmp_path, data)
    record, learner = finished.record, finished.learner
    heads = 4 * sum((WIDTH + 1) * classes for classes in (2, 3))
    assert record["bytes"]["dense"] == heads + 2 * numbers * 2  # float16, two tasks
    assert record["accuracy"]["forgetting"] == 0.0
    assert min(record["accuracy"]["per_task"]) > 0.6  # of two and of three classes
    assert learner.method == Individual(precision="float16")
    first, second = (learner.bank[task].changes for task in ("two", "three"))
    own = [part for part in first if not part.startswith("head")]
    assert sum(prod(first[part].shape) for part in own) == numbers
    assert any(not torch.equal(first[part].tensors()[""], second[part].tensors()[""]) for part in own)
    # The bank opens over a network that is built again, and answers the same.
    experiment = small(name, **settings)
    again = experiment.learner(finished.tasks, tmp_path / "again", lambda done, total: None)
    inputs = finished.tasks[0].test.batch(torch.arange(5))[0]
    loaded = BankFolder(tmp_path / "bank").open()
    again.adopt(loaded)
    assert torch.equal(again.network.logits(inputs, again.bank["two"]), learner.network.logits(inputs, loaded["two"]))


@pytest.mark.parametrize("name", ["lora", "bitfit", "vera"])
def test_one_part_for_all_tasks_forgets(
    name: str, small: Callable[..., Experiment], data: Path, tmp_path: Path
) -> None:
    experiment = small(name, shared=True, optimiser=Adam(3e-2))
    finished = run(experiment, tmp_path, data)
    assert finished.learner.method == Sequential()
    heads = 4 * sum((WIDTH + 1) * classes for classes in (2, 3))
    assert finished.record["bytes"]["dense"] == heads
    inputs = finished.tasks[0].test.batch(torch.arange(5))[0]
    state = finished.learner.bank["two"]
    alone = experiment.learner(finished.tasks, tmp_path / "alone", lambda done, total: None)
    alone.learn(finished.tasks[0])
    before = alone.network.logits(inputs, alone.bank["two"])
    assert not torch.equal(finished.learner.network.logits(inputs, state), before)


def test_a_shared_part_replays_stored_examples(small: Callable[..., Experiment], data: Path, tmp_path: Path) -> None:
    finished = run(small("lora", shared=True, memory=4, epochs=2), tmp_path, data)
    assert finished.learner.method == ExperienceReplay(memory=4)
    ids = 4 * 6 * 2  # four texts of six token ids of two bytes each
    assert ids <= finished.record["bytes"]["examples"] <= 4 * ids


@pytest.mark.parametrize(
    ("settings", "expected"),
    [({"memory": 4}, "needs shared=True"), ({"memory": -1, "shared": True}, "at least 0, got -1")],
)
def test_a_memory_that_nothing_can_use_is_an_error(settings: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        LoRAWay(**settings)
