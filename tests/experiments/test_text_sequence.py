"""Sequences of text tasks over an encoder and over word vectors, both tiny and made here."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from small_experiments import changed

from supermasks import Learner
from supermasks.errors import ConfigError
from supermasks.experiments import EXPERIMENTS, Experiment, run
from supermasks.experiments.architectures.text import KimCNN
from supermasks.experiments.sequences import SEQUENCES
from supermasks.masks import ER, TopK
from supermasks.nets import TextCNN
from supermasks.training import Adam


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, write_texts: Callable[..., None]) -> Path:
    folder = tmp_path_factory.mktemp("data")
    for name, topics in {"ag": ["sea", "sky", "land"], "yelp": ["land", "sea"], "yahoo": ["sky", "land"]}.items():
        write_texts(folder / name, topics)
    return folder


def small(embeddings: Path, way: str = "exssnet", **settings: Any) -> Experiment:
    usual = {
        "sequence": "S6",
        "embeddings": str(embeddings),
        "net": KimCNN(channels=20),
        "length": 7,
        "epochs": 30,
        "batch_size": 10,
        "optimiser": Adam(1e-2),
    }
    if way != "individual":
        usual["rule"] = TopK(0.3)
    return changed(EXPERIMENTS["webnlp"].of(way), **{**usual, **settings})


@pytest.mark.parametrize("method", ["supsup", "ssnet", "exssnet", "individual"])
@pytest.mark.parametrize("over", ["net", "vectors"])
def test_each_method_learns_over_either_embedding(
    over: str, method: str, data: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    record = run(small(request.getfixturevalue(over), method), tmp_path / "run", data).record
    assert record["dataset"] == "ag+yelp+yahoo"
    assert record["accuracy"]["mean"] > 0.7
    assert (record["bytes"]["owned"] > 0) == (method in ("ssnet", "exssnet"))
    assert (record["bytes"]["masks"] > 0) == (method != "individual")
    if method != "ssnet":
        assert record["accuracy"]["forgetting"] == 0


@pytest.mark.parametrize("way", ["sequential", "er", "multitask"])
def test_baselines_learn_over_embeddings(way: str, data: Path, vectors: Path, tmp_path: Path) -> None:
    experiment = changed(small(vectors, "individual"), way=EXPERIMENTS["webnlp"].of(way).way)
    record = run(experiment, tmp_path / "run", data).record
    assert record["accuracy"]["mean"] > 0.6
    assert (record["bytes"]["examples"] > 0) == (way == "er")


def test_the_inputs_are_the_embeddings_of_the_tokens(data: Path, net: Path, vectors: Path) -> None:
    from transformers import AutoModel, AutoTokenizer

    encoder, tokenizer = AutoModel.from_pretrained(net), AutoTokenizer.from_pretrained(net)
    by_encoder, by_words = (small(path).stream(data)[1] for path in (net, vectors))
    text = (data / "yelp" / "train.csv").read_text().splitlines()[6].split(",")[1]
    tokens = tokenizer(text, return_tensors="pt")
    with torch.no_grad():
        expected = encoder(**tokens).last_hidden_state[0]
    found = by_encoder.train.batch(torch.tensor([5]))[0][0]
    torch.testing.assert_close(found[: len(expected)], expected, atol=2e-3, rtol=2e-3)
    assert not found[len(expected) :].any()
    table = {line.split()[0]: [float(n) for n in line.split()[1:]] for line in vectors.read_text().splitlines()}
    words = torch.tensor([table[word] for word in text.split()])
    torch.testing.assert_close(by_words.train.batch(torch.tensor([5]))[0][0, : len(words)], words)
    assert len(list((data / "encodings").glob("*.npy"))) == 6  # train and test of three tasks, made once
    small(net).stream(data)
    assert len(list((data / "encodings").glob("*.npy"))) == 6


def test_texts_can_be_fewer_and_are_the_same_for_all_seeds(data: Path, vectors: Path) -> None:
    few = small(vectors, train_texts=20, test_texts=7, validation=0.1, select_best=True)
    first, second = (changed(few, seed=seed).stream(data) for seed in (0, 1))
    assert [(len(task.train), len(task.validation or ()), len(task.test or ())) for task in first] == [(18, 2, 7)] * 3
    assert first[0].test is not None
    assert second[0].test is not None
    assert torch.equal(first[0].test.batch(torch.arange(7))[0], second[0].test.batch(torch.arange(7))[0])


def test_the_network_has_outputs_for_the_largest_task(data: Path, vectors: Path, tmp_path: Path) -> None:
    settings = small(vectors)
    learner: Learner = settings.learner(settings.stream(data), tmp_path, lambda done, total: None)
    shapes = learner.network.shapes
    assert shapes["head.weight"] == (3, 60)
    assert [shapes[f"convolutions.{n}.weight"] for n in range(3)] == [(20, 6, width) for width in (3, 4, 5)]
    assert isinstance(TextCNN(3, 6, 20), torch.nn.Module)


@pytest.mark.parametrize(
    "bad",
    [
        {"epochs": 0},
        {"seed": -1},
        {"net": KimCNN(channels=0)},
        {"length": 0},
        {"validation": 1.5, "select_best": True},
        {"mask_share": 1.0},
        {"rule": TopK(ER(2))},
    ],
    ids=str,
)
def test_bad_settings_fail_before_anything_is_written(bad: dict, vectors: Path, data: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        run(small(vectors, **bad), tmp_path / "run", data)
    assert not (tmp_path / "run").exists()


def test_they_are_the_experiments_of_the_paper() -> None:
    glue, webnlp = EXPERIMENTS["glue"].of(), EXPERIMENTS["webnlp"].of()
    assert (glue.tasks.count, small(Path("glove"), sequence="S7").tasks.count) == (5, 3)
    assert webnlp.tasks.data_sets == SEQUENCES["S2"]
