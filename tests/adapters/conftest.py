"""Six tiny models of transformers, and what the tests of masks as adapters ask of them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

transformers = pytest.importorskip("transformers")
peft = pytest.importorskip("peft")

WORDS, LENGTH, PAD, CLASSES = 40, 8, 0, 3
SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
TEXT = {"vocab_size": WORDS, "num_labels": CLASSES, "pad_token_id": PAD}


@dataclass(frozen=True)
class Kind:
    """One architecture.

    Attributes:
        make: a classifier of three classes, always with the same weights.
        head: the layers that a task trains whole.
        layer: one of the layers that are masked.
        layers: how many layers are masked by default.
    """

    make: Callable[[], Any]
    head: list[str]
    layer: str
    layers: int


def _made(model: str, config: str, **settings: Any) -> Callable[[], Any]:
    def make() -> Any:
        torch.manual_seed(0)
        return getattr(transformers, model)(getattr(transformers, config)(**settings)).eval()

    return make


KINDS = {
    "bert": Kind(
        _made("BertForSequenceClassification", "BertConfig", **TEXT, **SMALL),
        ["classifier"],
        "bert.encoder.layer.1.attention.self.value",
        2 * 6 + 1,
    ),
    "distilbert": Kind(
        _made(
            "DistilBertForSequenceClassification",
            "DistilBertConfig",
            **{**TEXT, "dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32},
        ),
        ["pre_classifier", "classifier"],
        "distilbert.transformer.layer.0.ffn.lin1",
        2 * 6,
    ),
    "roberta": Kind(
        _made("RobertaForSequenceClassification", "RobertaConfig", **{**TEXT, **SMALL, "max_position_embeddings": 20}),
        ["classifier"],
        "roberta.encoder.layer.0.output.dense",
        2 * 6,
    ),
    "vit": Kind(
        _made("ViTForImageClassification", "ViTConfig", image_size=8, patch_size=4, num_labels=CLASSES, **SMALL),
        ["classifier"],
        "vit.layers.1.attention.v_proj",
        2 * 6,
    ),
    "gpt2": Kind(
        _made(
            "GPT2ForSequenceClassification",
            "GPT2Config",
            **{
                **TEXT,
                "n_positions": 16,
                "n_embd": 16,
                "n_layer": 2,
                "n_head": 2,
                "bos_token_id": 1,
                "eos_token_id": 1,
            },
        ),
        ["score"],
        "transformer.h.1.attn.c_attn",
        2 * 4,
    ),
    "llama": Kind(
        _made(
            "LlamaForSequenceClassification",
            "LlamaConfig",
            **{**TEXT, **SMALL, "num_key_value_heads": 1, "eos_token_id": 1},
        ),
        ["score"],
        "model.layers.0.mlp.up_proj",
        2 * 7,
    ),
}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    return KINDS[request.param]


def inputs_of(model: nn.Module, count: int = 6, seed: int = 1) -> dict[str, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    if type(base_of(model)).__name__.startswith("ViT"):
        return {"pixel_values": torch.randn(count, 3, 8, 8, generator=rng).to(base_of(model).dtype)}
    ids = torch.randint(2, WORDS, (count, LENGTH), generator=rng)
    ids[::2, 5:] = PAD
    return {"input_ids": ids, "attention_mask": (ids != PAD).long()}


def base_of(model: Any) -> Any:
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def logits_of(model: Any, **settings: int) -> Tensor:
    with torch.no_grad():
        return model.eval()(**inputs_of(model, **settings)).logits


def trained(model: Any, steps: int = 6, seed: int = 3, rate: float = 3e-2) -> Any:
    """Train what PEFT has left trainable, on random labels."""
    rng = torch.Generator().manual_seed(seed)
    own = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser = torch.optim.Adam(own, lr=rate)
    model.train()
    for step in range(steps):
        batch = inputs_of(model, seed=100 * seed + step)
        labels = torch.randint(CLASSES, (6,), generator=rng)
        loss = model(**batch, labels=labels).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return model.eval()
