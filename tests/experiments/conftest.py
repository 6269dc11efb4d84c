"""A tiny encoder with a tiny tokenizer, and texts of their words."""

import csv
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from small_experiments import changed

from supermasks.experiments import EXPERIMENTS, Experiment
from supermasks.experiments.architectures.text import Encoder
from supermasks.training import Adam

TOPICS = {"sea": ["ship", "wave", "fish"], "sky": ["star", "moon", "cloud"], "land": ["tree", "hill", "road"]}
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", "a", *(word for words in TOPICS.values() for word in words)]
WIDTH, INNER, LAYERS = 16, 32, 2


@pytest.fixture(scope="session")
def net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as of a pretrained encoder: two layers of BERT, 16 wide, with a tokenizer of fifteen words."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("net")
    plain = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="[UNK]"))
    plain.pre_tokenizer = pre_tokenizers.Whitespace()
    plain.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    PreTrainedTokenizerFast(tokenizer_object=plain, pad_token="[PAD]").save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=2,
        intermediate_size=INNER,
        max_position_embeddings=64,
        initializer_range=0.2,
    )
    torch.manual_seed(0)
    BertModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def write_texts() -> Callable[..., None]:
    """Write 60 + 30 texts of some topics: `write_texts(folder, topics)`."""

    def write(folder: Path, topics: Sequence[str]) -> None:
        draw = random.Random(0)
        folder.mkdir()
        for part, count in (("train", 60), ("test", 30)):
            labels = [topics[number % len(topics)] for number in range(count)]
            texts = [" ".join(draw.choices([*TOPICS[label], "the", "a"], k=4)) for label in labels]
            with (folder / f"{part}.csv").open("w", newline="", encoding="utf-8") as file:
                csv.writer(file).writerows([("label", "text"), *zip(labels, texts, strict=True)])

    return write


@pytest.fixture(scope="session")
def vectors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of word vectors: each word of a topic has the topic's own direction, and noise."""
    rng, path = random.Random(1), tmp_path_factory.mktemp("vectors") / "tiny.txt"
    lines = []
    for number, words in enumerate([*TOPICS.values(), ["the", "a"]]):
        for word in words:
            numbers = [(2.0 if n == number else 0.0) + rng.gauss(0, 0.3) for n in range(6)]
            lines.append(" ".join([word, *(f"{value:.4f}" for value in numbers)]))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory, write_texts: Callable[..., None]) -> Path:
    """Two sets of texts: "two" of the topics sea and sky, "three" of all."""
    folder = tmp_path_factory.mktemp("data")
    write_texts(folder / "two", ["sea", "sky"])
    write_texts(folder / "three", ["sea", "sky", "land"])
    return folder


@pytest.fixture
def small(net: Path) -> Callable[..., Experiment]:
    """Make an experiment on both sets over the tiny encoder: `small(way, **settings)`."""

    def make(way: str = "masks", **settings: Any) -> Experiment:
        usual = {
            "datasets": ("two", "three"),
            "tokenizer": str(net),
            "net": Encoder(model=str(net)),
            "length": 6,
            "epochs": 10,
            "batch_size": 10,
            "optimiser": Adam(3e-3),
        }
        return changed(EXPERIMENTS["pretrained-text"].of(way), **{**usual, **settings})

    return make
