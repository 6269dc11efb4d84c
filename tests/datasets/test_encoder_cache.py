"""Embeddings on disk by a tiny encoder, compared with running it on each text alone."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch

from supermasks.datasets import EncodedTexts, encode_texts
from supermasks.datasets.texts import encoder_cache
from supermasks.errors import ConfigError, DataUnavailableError, InputError
from supermasks.types import Examples, Task

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", "a", "ship", "wave", "star", "moon"]
WIDTH = 16
TEXTS = ["the ship", "a star and a moon and a wave and a ship", "moon", "the wave", "zebra", "a a a a"]


def make_tokenizer(words: list[str], lower: bool = False):
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    plain = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="[UNK]"))
    plain.pre_tokenizer = pre_tokenizers.Whitespace()
    if lower:
        plain.normalizer = normalizers.Lowercase()
    plain.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=plain, pad_token="[PAD]", unk_token="[UNK]")


def make_encoder(seed: int = 0, **settings: object):
    from transformers import BertConfig, BertModel

    config = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=WIDTH,
        num_hidden_layers=2,
        intermediate_size=32,
        max_position_embeddings=8,
        initializer_range=0.2,
        **{"num_attention_heads": 2, **settings},
    )
    torch.manual_seed(seed)
    return BertModel(config)


@pytest.fixture(scope="module")
def tokenizer():
    return make_tokenizer(WORDS)


@pytest.fixture
def encoder():
    return make_encoder()


@pytest.fixture
def calls(encoder, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the batches that the encoder was called with."""
    sizes: list[int] = []
    encoder.register_forward_pre_hook(
        lambda module, args, kwargs: sizes.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    return sizes


def alone(text: str, tokenizer, encoder, length: int) -> torch.Tensor:
    """The embeddings of one text, without padding, and then zeros."""
    ids = torch.tensor([tokenizer(text)["input_ids"]])
    if ids.shape[1] > length:
        ids = torch.cat([ids[:, : length - 1], ids[:, -1:]], dim=1)
    rows = torch.zeros(length, WIDTH)
    with torch.no_grad():
        rows[: ids.shape[1]] = encoder.eval()(input_ids=ids).last_hidden_state[0]
    return rows


@pytest.mark.parametrize("batch_size", [1, 4, 64])
def test_a_text_has_the_same_embeddings_in_a_batch(tokenizer, encoder, tmp_path: Path, batch_size: int) -> None:
    store = encode_texts(TEXTS, tokenizer, encoder, 6, tmp_path / "new" / "folder", batch_size)
    assert (store.shape, store.dtype, len(store)) == ((6, 6, WIDTH), torch.float32, 6)
    expected = torch.stack([alone(text, tokenizer, encoder, 6) for text in TEXTS])
    for rows in ([0, 1, 2, 3, 4, 5], [5, 0, 0], []):
        chosen = torch.tensor(rows, dtype=torch.int64)
        assert store[chosen].dtype == torch.float32
        # As near as float16 holds them.
        torch.testing.assert_close(store[chosen], expected[chosen], rtol=2**-10, atol=1e-4)
    assert not store[torch.tensor([2])][0, 3:].any(), "padding is zero"
    store[torch.tensor([0])].fill_(7.0)
    torch.testing.assert_close(store[torch.tensor([0])], expected[:1], rtol=2**-10, atol=1e-4)
    with pytest.raises(IndexError):
        store[torch.tensor([6])]


def test_the_encoder_runs_once(tokenizer, encoder, calls: list[int], tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    first = encode_texts(TEXTS, tokenizer, encoder, 6, tmp_path, 4, lambda done, total: seen.append((done, total)))
    assert (calls, seen) == ([4, 2], [(4, 6), (6, 6)])
    (path,) = tmp_path.iterdir()
    assert path.suffix == ".npy"
    assert len(path.stem) == 64
    content, rows = path.read_bytes(), torch.arange(6)
    # The same things made anew, in another state of use, and the path as a string.
    tokenizer(TEXTS, truncation=True, max_length=3, padding=True)
    again = encode_texts(tuple(TEXTS), make_tokenizer(WORDS), encoder.train(), 6, str(tmp_path), 2)
    assert torch.equal(first[rows], again[rows])
    assert torch.equal(EncodedTexts(path)[rows], first[rows])
    twin = make_encoder()
    encode_texts(TEXTS, tokenizer, twin, 6, tmp_path)
    assert calls == [4, 2]
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [content]
    # The file is what it says it is to anyone.
    array = np.load(path)
    assert (array.dtype, array.shape) == (np.float16, (6, 6, WIDTH))


def test_everything_the_embeddings_depend_on_changes_the_file_name(tokenizer, encoder, tmp_path: Path) -> None:
    changed = copy.deepcopy(encoder)
    with torch.no_grad():
        changed.encoder.layer[1].output.dense.bias[3] += 1.0
    swapped = [*WORDS[:8], "moon", "star"]
    runs = [
        (TEXTS, tokenizer, encoder, 6),
        (TEXTS[::-1], tokenizer, encoder, 6),
        (["the ship a", "star and a moon and a wave and a ship", *TEXTS[2:]], tokenizer, encoder, 6),
        (TEXTS[:5], tokenizer, encoder, 6),
        (TEXTS, tokenizer, encoder, 5),
        (TEXTS, make_tokenizer(swapped), encoder, 6),
        (TEXTS, make_tokenizer(WORDS, lower=True), encoder, 6),
        (TEXTS, tokenizer, changed, 6),
        (TEXTS, tokenizer, make_encoder(seed=1), 6),
        # Of the same parameters, but not the same function of them.
        (TEXTS, tokenizer, make_encoder(num_attention_heads=4), 6),
        (TEXTS, tokenizer, make_encoder(hidden_act="relu"), 6),
    ]
    for number, settings in enumerate(runs, start=1):
        encode_texts(*settings, tmp_path)
        assert len(list(tmp_path.iterdir())) == number


def test_the_encoder_is_not_changed(tokenizer, encoder, tmp_path: Path) -> None:
    encoder.train()
    encoder.embeddings.eval()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    modes = [module.training for module in encoder.modules()]
    store = encode_texts(TEXTS, tokenizer, encoder, 6, tmp_path)
    assert [module.training for module in encoder.modules()] == modes
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())
    assert all(parameter.grad is None for parameter in encoder.parameters())
    # Dropout, that training has, was off.
    torch.testing.assert_close(
        store[torch.tensor([1])][0], alone(TEXTS[1], tokenizer, encoder, 6), rtol=2**-10, atol=1e-4
    )


def test_an_encoder_of_another_precision_runs_in_float32(tokenizer, encoder, tmp_path: Path) -> None:
    rough = copy.deepcopy(encoder).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        store = encode_texts(TEXTS, tokenizer, rough, 6, tmp_path)
    assert {parameter.dtype for parameter in rough.parameters()} == {torch.bfloat16}
    same = copy.deepcopy(rough).float()
    torch.testing.assert_close(store[torch.tensor([1])][0], alone(TEXTS[1], tokenizer, same, 6), rtol=2**-10, atol=1e-4)


def test_an_interrupted_run_leaves_no_file(tokenizer, encoder, calls: list[int], tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    encoder.train()
    with pytest.raises(KeyboardInterrupt):
        encode_texts(TEXTS, tokenizer, encoder, 6, tmp_path, 2, stop)
    assert list(tmp_path.iterdir()) == []
    assert encoder.training
    encode_texts(TEXTS, tokenizer, encoder, 6, tmp_path, 2)
    assert calls == [2] * 4


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: np.save(path, np.zeros((6, 6, WIDTH), np.float32)),
        lambda path: np.save(path, np.zeros((5, 6, WIDTH), np.float16)),
        lambda path: np.save(path, np.zeros((6, 6), np.float16)),
        lambda path: path.write_bytes(path.read_bytes()[:-2]),
        lambda path: path.write_bytes(b"no array"),
        lambda path: path.write_bytes(b""),
    ],
)
def test_a_file_of_another_format_is_rejected(tokenizer, encoder, calls: list[int], tmp_path: Path, damage) -> None:
    encode_texts(TEXTS, tokenizer, encoder, 6, tmp_path)
    (path,) = tmp_path.iterdir()
    damage(path)
    with pytest.raises(DataUnavailableError, match="delete it, and encode") as caught:
        encode_texts(TEXTS, tokenizer, encoder, 6, tmp_path)
    assert str(path) in str(caught.value)
    assert calls == [6]


def test_a_task_can_be_made_of_them(tokenizer, encoder, tmp_path: Path) -> None:
    store = encode_texts(TEXTS, tokenizer, encoder, 6, tmp_path)
    task = Task("mine", ("a", "b"), Examples(store, torch.arange(6) % 2))
    assert task.train.shape == (6, WIDTH)
    sizes = [tuple(inputs.shape) for inputs, _ in task.train.batches(4)]
    assert sizes == [(4, 6, WIDTH), (2, 6, WIDTH)]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"length": 0}, "length"),
        ({"length": 2}, "leaves no room"),
        ({"length": 6.0}, "length"),
        ({"length": 9}, "8 positions for tokens, got a length of 9"),
        ({"batch_size": 0}, "size of a batch"),
    ],
)
def test_invalid_settings_are_rejected(tokenizer, encoder, tmp_path: Path, settings, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        encode_texts(**{"texts": TEXTS, "length": 6, **settings}, tokenizer=tokenizer, encoder=encoder, folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_tokenizer_must_pad(encoder, tmp_path: Path) -> None:
    bare = make_tokenizer(WORDS)
    bare.pad_token = None
    with pytest.raises(ConfigError, match="pad_token"):
        encode_texts(TEXTS, bare, encoder, 6, tmp_path)


def test_no_texts_and_infinite_embeddings_are_rejected(tokenizer, encoder, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no texts"):
        encode_texts([], tokenizer, encoder, 6, tmp_path)
    with torch.no_grad():
        encoder.encoder.layer[1].output.LayerNorm.bias[0] = 1e6
    with pytest.raises(InputError, match="within the range of float16, got others for text 1"):
        encode_texts(TEXTS, tokenizer, encoder, 6, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_an_error(
    tokenizer, encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DataUnavailableError, match="pass another folder"):
        encode_texts(TEXTS, tokenizer, encoder, 6, tmp_path / "file")
    usage = type("Usage", (), {"free": 2 * 6 * 6 * WIDTH - 1})
    monkeypatch.setattr(encoder_cache.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(DataUnavailableError, match=r"take 1,152 bytes, but .* has 1,151 left"):
        encode_texts(TEXTS, tokenizer, encoder, 6, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
