"""Encoders by the folder that `transformers` loads."""

from pathlib import Path

import pytest
import torch

from supermasks.datasets import encode_texts
from supermasks.experiments.encoder import load_encoder

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "rain", "sun"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model that was trained to fill in words: it has no pooler, which `AutoModel` then draws at random."""
    from transformers import BertConfig, BertForMaskedLM, BertTokenizerFast

    folder = tmp_path / "model"
    config = BertConfig(vocab_size=7, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)
    BertForMaskedLM(config).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    return folder


def test_an_encoder_without_a_pooler_is_the_same_each_time(folder: Path, tmp_path: Path) -> None:
    """So that its encodings are found again, and the user's random numbers are not drawn from."""
    before = torch.get_rng_state()
    for _ in range(2):
        tokenizer, encoder = (load_encoder(str(folder), kind) for kind in ("AutoTokenizer", "AutoModel"))
        assert torch.equal(torch.get_rng_state(), before)
        assert encoder.pooler is not None
        encode_texts(["rain", "sun rain"], tokenizer, encoder, 6, tmp_path / "encodings")
        torch.manual_seed(1)
        before = torch.get_rng_state()
    assert len(list((tmp_path / "encodings").glob("*.npy"))) == 1
