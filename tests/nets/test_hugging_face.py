"""A task over a model of transformers leaves as a model of transformers."""

import json
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from supermasks import Examples, Learner, Network, Task
from supermasks.bases import RandomBase
from supermasks.nets import HuggingFaceClassifier, HuggingFaceEncoder
from supermasks.training import Adam, Training

transformers = pytest.importorskip("transformers")

WORDS, LENGTH, PAD = 30, 8, 0
SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}


def bert(outputs: int = 6) -> nn.Module:
    config = transformers.BertConfig(vocab_size=WORDS, max_position_embeddings=LENGTH, num_labels=outputs, **SMALL)
    return transformers.BertForSequenceClassification(config)


def distilbert(outputs: int = 6) -> nn.Module:
    size = {"dim": 16, "n_layers": 1, "n_heads": 2, "hidden_dim": 32, "max_position_embeddings": LENGTH}
    config = transformers.DistilBertConfig(vocab_size=WORDS, num_labels=outputs, **size)
    return transformers.DistilBertForSequenceClassification(config)


def gpt2(outputs: int = 6) -> nn.Module:
    config = transformers.GPT2Config(
        vocab_size=WORDS, n_positions=LENGTH, n_embd=16, n_layer=1, n_head=2, num_labels=outputs, pad_token_id=PAD
    )
    return transformers.GPT2ForSequenceClassification(config)


def vit(outputs: int = 6) -> nn.Module:
    config = transformers.ViTConfig(image_size=8, patch_size=4, num_labels=outputs, **SMALL)
    return transformers.ViTForImageClassification(config)


def inputs_of(model: nn.Module, count: int = 8) -> Tensor:
    rng = torch.Generator().manual_seed(1)
    if isinstance(model, transformers.ViTForImageClassification):
        return torch.randn(count, 3, 8, 8, generator=rng)
    ids = torch.randint(1, WORDS, (count, LENGTH), generator=rng)
    ids[::2, 5:] = PAD
    return ids


def learned(model: nn.Module, classes: tuple[Hashable, ...] = ("cat", "dog", "cow"), **settings: Any) -> Learner:
    x = inputs_of(model, 24)
    training = Training(steps=4, batch_size=8, optimiser=Adam(1e-2))
    learner = Learner(Network(HuggingFaceClassifier(model), RandomBase(0), **settings), training=training)
    for number, name in enumerate("ab"):
        learner.learn(Task(name, classes, Examples(x, (torch.arange(24) + number) % len(classes))))
    return learner


def plain_logits(model: Any, x: Tensor) -> Tensor:
    with torch.no_grad():
        if x.is_floating_point():
            return model(pixel_values=x).logits
        return model(input_ids=x, attention_mask=(x != PAD).long()).logits


KINDS = {"bert": bert, "distilbert": distilbert, "gpt2": gpt2, "vit": vit}


@pytest.mark.filterwarnings("ignore::UserWarning")  # of layers that are not masked, and of what a model says of itself
@pytest.mark.parametrize("kind", KINDS)
def test_a_task_is_exported_as_the_model_itself(kind: str, tmp_path: Path) -> None:
    model = KINDS[kind]()
    before = dict(model.config.id2label)
    learner, x = learned(model), inputs_of(model)
    for name in ("a", "b"):
        exported = learner.export(name)
        assert type(exported) is type(model)
        assert torch.equal(plain_logits(exported, x), learner.network.logits(x, learner.bank[name]))
        names = ["cat", "dog", "cow", "unused_3", "unused_4", "unused_5"]
        assert exported.config.id2label == dict(enumerate(names))
        assert exported.config.label2id == {label: number for number, label in enumerate(names)}
        assert exported.config.num_labels == exported.num_labels == plain_logits(exported, x).shape[1] == 6
        exported.save_pretrained(tmp_path / name)
        back = type(model).from_pretrained(tmp_path / name)
        assert torch.equal(plain_logits(back.eval(), x), learner.network.logits(x, learner.bank[name]))
        assert back.config.id2label == exported.config.id2label
    assert model.config.id2label == before, "the model that was learned with stays as it was"
    assert learner.export("a").config.id2label is not learner.export("a").config.id2label


ALONE = """
import sys
sys.modules["supermasks"] = None  # as if it were not installed
import torch
torch.set_num_threads(1)
from transformers import AutoModelForSequenceClassification
folder = sys.argv[1]
model = AutoModelForSequenceClassification.from_pretrained(folder + "/model").eval()
x = torch.load(folder + "/x.pt")
with torch.no_grad():
    logits = model(input_ids=x, attention_mask=(x != 0).long()).logits
torch.save(logits, folder + "/logits.pt")
whole = torch.load(folder + "/whole.pt", weights_only=False)
with torch.no_grad():
    assert torch.equal(whole(input_ids=x, attention_mask=(x != 0).long()).logits, logits)
print([model.config.id2label[number] for number in logits[:, :3].argmax(1).tolist()])
assert sys.modules["supermasks"] is None and not any(name.startswith("supermasks.") for name in sys.modules)
"""


def test_transformers_alone_loads_what_was_exported(elsewhere: Any, tmp_path: Path) -> None:
    model = bert()
    learner, x = learned(model), inputs_of(model)
    exported = learner.export("a")
    exported.save_pretrained(tmp_path / "model")
    torch.save(exported, tmp_path / "whole.pt")
    torch.save(x, tmp_path / "x.pt")
    labels = elsewhere(ALONE, tmp_path)
    assert torch.equal(torch.load(tmp_path / "logits.pt"), learner.network.logits(x, learner.bank["a"]))
    assert labels == str(learner.predict(x, task="a").labels)


def test_a_head_of_its_own_has_as_many_names_as_outputs(tmp_path: Path) -> None:
    model = bert()
    learner, x = learned(model, head="model.classifier"), inputs_of(model)
    exported = learner.export("a")
    assert exported.config.id2label == {0: "cat", 1: "dog", 2: "cow"}
    exported.save_pretrained(tmp_path)
    back = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    assert torch.equal(plain_logits(back, x), learner.network.logits(x, learner.bank["a"]))


def test_outputs_are_counted_and_not_taken_from_the_config(tmp_path: Path) -> None:
    """A user may replace the classifier by hand without changing the config."""
    model: Any = bert(2)
    model.classifier = nn.Linear(16, 5)
    learner, x = learned(model), inputs_of(model)
    exported = learner.export("a")
    assert exported.config.num_labels == plain_logits(exported, x).shape[1] == 5
    exported.save_pretrained(tmp_path)
    back = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    assert torch.equal(plain_logits(back, x), learner.network.logits(x, learner.bank["a"]))


@pytest.mark.parametrize(
    ("classes", "names"),
    [
        ((7, 3), ["7", "3", "unused_2"]),
        ((True, None), ["True", "None", "unused_2"]),
        (("a", ("b", 1)), ["a", "('b', 1)", "unused_2"]),
        ((1, "1"), ["1", "'1'", "unused_2"]),
        (("unused_2", "x"), ["unused_2", "x", "unused_2_"]),
        (("ü\n", ""), ["ü\n", "", "unused_2"]),
    ],
)
def test_every_output_has_a_name_of_its_own(classes: tuple[Hashable, ...], names: list[str], tmp_path: Path) -> None:
    learner = learned(bert(3), classes)
    exported = learner.export("a")
    assert [exported.config.id2label[number] for number in range(3)] == names
    assert [exported.config.label2id[name] for name in names] == [0, 1, 2]
    exported.save_pretrained(tmp_path)
    back = transformers.AutoConfig.from_pretrained(tmp_path)
    assert [back.id2label[number] for number in range(3)] == names
    assert json.loads((tmp_path / "config.json").read_text())["label2id"] == {name: n for n, name in enumerate(names)}


def test_a_pipeline_answers_with_labels() -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = {"[PAD]": PAD, "[UNK]": 1, **{f"w{n}": n for n in range(2, WORDS)}}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]")
    learner = learned(bert(3))
    ask = transformers.pipeline("text-classification", model=learner.export("a"), tokenizer=fast, device="cpu")
    text = " ".join(f"w{n}" for n in range(2, 2 + LENGTH))
    answer = ask(text)[0]
    ids = torch.arange(2, 2 + LENGTH)[None]
    expected = learner.predict(ids, task="a")
    assert answer["label"] == expected.labels[0]
    assert answer["score"] == pytest.approx(float(expected.confidence[0]), rel=1e-5)


def test_a_wrapper_of_ones_own_stays() -> None:
    class Cooler(HuggingFaceClassifier):
        def forward(self, inputs: Tensor) -> Tensor:
            return super().forward(inputs) / 2

    model = bert()
    learner = Learner(Cooler(model), training=Training(steps=2, batch_size=8))
    x = inputs_of(model)
    learner.learn(Task("a", ("cat", "dog"), Examples(x, torch.arange(8) % 2)))
    exported = learner.export("a")
    assert type(exported) is Cooler
    assert torch.equal(exported(x), learner.network.logits(x, learner.bank["a"]))


@pytest.mark.filterwarnings("ignore:no gradient reaches 'encoder.pooler")
def test_an_encoder_stays_wrapped_and_is_written_as_onnx(tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    model: Any = bert()
    x = inputs_of(model)
    learner = Learner(HuggingFaceEncoder(model.bert, 4), training=Training(steps=2, batch_size=8))
    learner.learn(Task("a", ("cat", "dog"), Examples(x, torch.arange(8) % 2)))
    exported = learner.export("a")
    assert type(exported) is HuggingFaceEncoder
    assert torch.equal(exported(x), learner.network.logits(x, learner.bank["a"]))
    learner.export_onnx("a", tmp_path / "a.onnx")
    (logits,) = onnxruntime.InferenceSession(tmp_path / "a.onnx").run(["logits"], {"inputs": x.numpy()})
    assert torch.allclose(torch.from_numpy(logits), learner.network.logits(x, learner.bank["a"]), atol=1e-5)
