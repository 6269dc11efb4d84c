"""Masks, fine-tuning and heads over a tiny encoder and a tiny tokenizer that are made here."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from small_experiments import changed

from supermasks.errors import ConfigError, DataUnavailableError
from supermasks.experiments import EXPERIMENTS, Experiment, run
from supermasks.experiments.tasks.text_sets import TextSets
from supermasks.methods import Individual, SupSup
from supermasks.training import Adam

WIDTH, INNER, LAYERS = 16, 32, 2  # of the encoder
MASKED = LAYERS * (4 * WIDTH * WIDTH + 2 * WIDTH * INNER)


Make = Callable[..., Experiment]


def test_it_is_an_experiment_of_as_many_tasks_as_data_sets() -> None:
    experiment = changed(EXPERIMENTS["pretrained-text"].of(), datasets=("imdb", "reuters-r8"))
    assert (experiment.tasks.count, experiment.headings()["dataset"]) == (2, "imdb+reuters-r8")
    with pytest.raises(ConfigError, match="imdb imdb"):
        TextSets(datasets=("imdb", "imdb"))
    with pytest.raises(ConfigError, match="at least one"):
        TextSets(datasets=())


@pytest.mark.parametrize("method", ["masks", "fine-tuning", "heads"])
def test_each_method_learns_and_stores_what_it_trains(small: Make, data: Path, method: str, tmp_path: Path) -> None:
    rate = 3e-3 if method == "fine-tuning" else 3e-2
    finished = run(small(method, optimiser=Adam(rate)), tmp_path / "run", data)
    record, learner = finished.record, finished.learner
    heads = 4 * sum((WIDTH + 1) * classes for classes in (2, 3))
    bits = 2 * MASKED if method == "masks" else 0
    assert (0 < record["bytes"]["masks"] <= bits / 8) if bits else record["bytes"]["masks"] == 0
    assert record["bytes"]["dense"] == heads + (2 * MASKED * 4 if method == "fine-tuning" else 0)
    assert record["bytes"]["norm"] == 0
    files = [file for file in (tmp_path / "run" / "bank").rglob("*") if file.is_file()]
    assert record["bytes"]["total"] == sum(file.stat().st_size for file in files)
    assert min(record["accuracy"]["per_task"]) > 0.65
    assert record["accuracy"]["forgetting"] == 0.0
    assert learner.bank.names == ["two", "three"]
    assert isinstance(learner.method, Individual if method == "fine-tuning" else SupSup)
    assert learner.predict(finished.tasks[0].train.inputs[torch.tensor([0])], task="two").tasks == ["two"]


def test_some_test_texts_are_chosen_at_random_by_the_seed(small: Make, data: Path) -> None:
    def texts(count: int | None, seed: int) -> list[list[int]]:
        test = small(test_texts=count, seed=seed).stream(data)[1].test
        assert test is not None
        return test.batch(torch.arange(len(test)))[0].tolist()

    every = texts(None, 0)
    assert len(every) == 30
    assert (len(texts(12, 0)), texts(12, 0)) == (12, texts(12, 0))
    assert texts(12, 0) != texts(12, 1)
    assert all(text in every for text in texts(12, 1))
    with pytest.raises(ConfigError, match="test_texts must be an integer of at least 1, got 0"):
        small(test_texts=0)


BASELINES = ("sequential", "lwf", "er", "agem", "der", "icarl", "regularised-replay", "multitask", "separate-heads")
REPLAY = ("er", "agem", "der", "icarl", "regularised-replay")


@pytest.mark.parametrize("way", BASELINES)
def test_a_baseline_trains_the_encoder_and_stores_texts_as_token_ids(
    small: Make, data: Path, way: str, tmp_path: Path
) -> None:
    finished = run(small(way, optimiser=Adam(3e-3), epochs=6), tmp_path / "run", data)
    record, memory = finished.record, finished.learner.bank.memory
    assert record["accuracy"]["mean"] > 0.5  # chance is 0.42
    if way not in REPLAY:
        assert record["bytes"]["examples"] == 0
        return
    assert memory["example inputs"].dtype == torch.uint8  # the tokenizer has 15 words
    count, length = memory["example inputs"].shape
    logits = 4 * count * 3 if way == "der" else 0
    assert record["bytes"]["examples"] == count * (length + 8 + 8) + logits + 8  # a target, a task; the number seen
    texts = {tuple(row) for task in finished.tasks for row in task.train.batch(torch.arange(60))[0].tolist()}
    assert {tuple(row) for row in memory["example inputs"].tolist()} <= texts


def test_pretrained_weights_are_not_drawn_at_random(small: Make, data: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="are pretrained; leave it out"):
        run(small("batch-ensemble", initialisation="kaiming_normal"), tmp_path / "run", data)


def test_the_layers_of_the_encoder_are_masked_and_begin_as_they_are(
    small: Make, data: Path, net: Path, tmp_path: Path
) -> None:
    from transformers import BertModel

    tasks = small().stream(data)
    learner = small().learner(tasks, tmp_path, lambda done, total: None)
    encoder = BertModel.from_pretrained(net)
    linear = {
        f"encoder.{name}.weight"
        for name, layer in encoder.encoder.named_modules(prefix="encoder")
        if isinstance(layer, torch.nn.Linear)
    }
    assert set(learner.network.shapes) == linear
    assert sum(weight.numel() for weight in learner.network.weights.values()) == MASKED
    assert learner.network.norm == "frozen"
    # Before training, all weights are kept: the mean over the tokens is the encoder's own.
    network, inputs = learner.network, tasks[1].train.batch(torch.tensor([0, 7, 59]))[0]
    session = learner.method.begin(learner._lesson(tasks[1]))
    logits = network.forward(inputs, session.effective())
    features: list[torch.Tensor] = []
    for row in inputs:
        real = row[row != 0]
        features.append(encoder(input_ids=real[None]).last_hidden_state[0].mean(dim=0))
    head = session.parameters
    expected = torch.stack(features) @ head["head.weight"].T + head["head.bias"]
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)


def test_texts_can_be_fewer_and_some_set_aside(small: Make, data: Path) -> None:
    held_out = {"validation": 0.25, "select_best": True}
    sizes = [
        [(len(task.train), len(task.validation or ())) for task in small(**settings).stream(data)]
        for settings in (
            {},
            {"train_texts": 40},
            {"train_texts": 40, **held_out},
            {"train_texts": 100},
        )
    ]
    assert sizes == [[each] * 2 for each in ((60, 0), (40, 0), (30, 10), (60, 0))]


def test_what_is_not_there_is_said(small: Make, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUPERMASKS_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(DataUnavailableError, match="fetch minilm"):
        small(tokenizer="minilm").stream(data)
    with pytest.raises(ConfigError, match="AutoTokenizer finds none"):
        small(tokenizer=str(tmp_path)).stream(data)
    with pytest.raises(DataUnavailableError, match="fetch imdb"):
        small(datasets=("imdb",)).stream(data)


def test_only_the_last_block_is_masked(small: Make, data: Path, tmp_path: Path) -> None:
    finished = run(small("masks", last=1, epochs=2), tmp_path, data)
    masked = set(finished.learner.bank["two"].mask)
    assert masked
    assert {name.split(".layer.")[1][0] for name in masked} == {"1"}  # of two blocks, 0 and 1
    assert all(name.endswith(".weight") and "LayerNorm" not in name for name in masked)
    inputs = finished.tasks[0].test.batch(torch.arange(4))[0]
    answers = finished.learner.predict_all(inputs)
    for name, found in answers.items():
        torch.testing.assert_close(found.confidence, finished.learner.predict(inputs, task=name).confidence)


@pytest.mark.parametrize("last", [0, 3])
def test_there_must_be_so_many_blocks(small: Make, data: Path, tmp_path: Path, last: int) -> None:
    with pytest.raises(ConfigError, match=f"from 1 to 2 for this encoder, got {last}"):
        run(small("masks", last=last), tmp_path, data)
