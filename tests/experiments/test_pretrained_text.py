"""Masks, fine-tuning and heads over a tiny encoder and a tiny tokenizer that are made here."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from supermasks.errors import ConfigError, DataUnavailableError
from supermasks.experiments import EXPERIMENTS, PretrainedText, run
from supermasks.methods import Individual, SupSup

WIDTH, INNER, LAYERS = 16, 32, 2  # of the encoder
MASKED = LAYERS * (4 * WIDTH * WIDTH + 2 * WIDTH * INNER)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, write_texts: Callable[..., None]) -> Path:
    """Two sets of texts: "two" of the topics sea and sky, "three" of all."""
    folder = tmp_path_factory.mktemp("data")
    write_texts(folder / "two", ["sea", "sky"])
    write_texts(folder / "three", ["sea", "sky", "land"])
    return folder


@pytest.fixture
def small(net: Path) -> PretrainedText:
    return PretrainedText(
        datasets=("two", "three"), net=str(net), length=6, epochs=10, batch_size=10, learning_rate=3e-3
    )


def test_it_is_an_experiment_of_as_many_tasks_as_data_sets() -> None:
    assert EXPERIMENTS["pretrained-text"] is PretrainedText
    settings = PretrainedText(datasets=("imdb", "reuters-r8"))
    assert (settings.tasks, settings.dataset) == (2, "imdb+reuters-r8")
    with pytest.raises(ConfigError, match="imdb imdb"):
        PretrainedText(datasets=("imdb", "imdb"))
    with pytest.raises(ConfigError, match="at least one"):
        PretrainedText(datasets=())


@pytest.mark.parametrize("method", ["masks", "fine-tuning", "heads"])
def test_each_method_learns_and_stores_what_it_trains(
    small: PretrainedText, data: Path, method, tmp_path: Path
) -> None:
    rate = 3e-3 if method == "fine-tuning" else 3e-2
    finished = run(replace(small, method=method, learning_rate=rate), tmp_path / "run", data)
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


def test_the_layers_of_the_encoder_are_masked_and_begin_as_they_are(
    small: PretrainedText, data: Path, net: Path, tmp_path: Path
) -> None:
    from transformers import BertModel

    tasks = small.stream(data)
    learner = small.learner(tasks, tmp_path, lambda done, total: None)
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


def test_texts_can_be_fewer_and_some_set_aside(small: PretrainedText, data: Path) -> None:
    sizes = [
        [(len(task.train), len(task.validation or ())) for task in replace(small, **settings).stream(data)]
        for settings in ({}, {"train_texts": 40}, {"train_texts": 40, "validation": 0.25}, {"train_texts": 100})
    ]
    assert sizes == [[each] * 2 for each in ((60, 0), (40, 0), (30, 10), (60, 0))]


def test_what_is_not_there_is_said(
    small: PretrainedText, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUPERMASKS_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(DataUnavailableError, match="fetch minilm"):
        replace(small, net="minilm").stream(data)
    with pytest.raises(ConfigError, match="AutoTokenizer finds none"):
        replace(small, net=str(tmp_path)).stream(data)
    with pytest.raises(DataUnavailableError, match="fetch imdb"):
        replace(small, datasets=("imdb",)).stream(data)
