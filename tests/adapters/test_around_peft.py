"""Masks as adapters under what PEFT and transformers offer around adapters."""

import copy
import pickle
import subprocess
import sys
from pathlib import Path

import peft
import pytest
import torch
from adapters.conftest import KINDS, WORDS, base_of, logits_of, trained
from peft import AutoPeftModelForSequenceClassification, PeftModel, PeftType, get_peft_model

from supermasks.errors import ConfigError
from supermasks.peft import SupermaskConfig
from supermasks.peft.coding import masks_of

transformers = pytest.importorskip("transformers")

KIND = KINDS["bert"]


def test_the_kind_of_adapter_is_known_to_peft() -> None:
    assert PeftType.SUPERMASK == "SUPERMASK"
    assert PeftType("SUPERMASK") is PeftType.SUPERMASK
    assert PeftType.SUPERMASK in list(PeftType)
    assert pickle.loads(pickle.dumps(PeftType.SUPERMASK)) is PeftType.SUPERMASK
    assert peft.get_peft_config({"peft_type": "SUPERMASK", "drop": 0.2}).drop == 0.2
    with pytest.raises(ValueError, match="NOTHING"):
        PeftType("NOTHING")


def test_without_the_import_peft_says_that_it_does_not_know_the_kind(tmp_path: Path) -> None:
    SupermaskConfig().save_pretrained(tmp_path)
    code = "import sys, peft\npeft.PeftConfig.from_pretrained(sys.argv[1])"
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    assert "KeyError: 'SUPERMASK'" in done.stderr


def test_a_task_type_chooses_the_head(tmp_path: Path) -> None:
    model = trained(get_peft_model(KIND.make(), SupermaskConfig(drop=0.1, task_type="SEQ_CLS")))
    KIND.make().save_pretrained(tmp_path / "base")
    model.peft_config["default"].base_model_name_or_path = str(tmp_path / "base")
    model.save_pretrained(tmp_path / "adapter")
    loaded = AutoPeftModelForSequenceClassification.from_pretrained(tmp_path / "adapter", num_labels=3)
    assert torch.equal(logits_of(loaded), logits_of(model))


def test_the_doors_of_transformers_itself(tmp_path: Path) -> None:
    """`model.add_adapter` works, and its file too. `model.load_adapter` does not ask PEFT to read the file."""
    model = KIND.make()
    model.add_adapter(SupermaskConfig(drop=0.2), adapter_name="mine")
    assert masks_of(model, "mine")
    adapted = logits_of(model)
    assert not torch.equal(adapted, logits_of(KIND.make()))
    model.save_pretrained(tmp_path)
    loaded = PeftModel.from_pretrained(KIND.make(), tmp_path)
    assert torch.equal(logits_of(loaded), adapted)
    model.disable_adapters()
    assert torch.equal(logits_of(model), logits_of(KIND.make()))
    other = KIND.make()
    other.load_adapter(str(tmp_path), adapter_name="yours")
    with pytest.raises(ConfigError, match="load it with PeftModel"):
        logits_of(other)


def test_status_and_copies() -> None:
    model = get_peft_model(KIND.make(), SupermaskConfig(drop=0.1, modules_to_save=KIND.head))
    status = model.get_model_status()
    assert status.num_adapter_layers == KIND.layers + 1  # and the head
    assert status.active_adapters == ["default"]
    assert status.available_adapters == ["default"]
    again = pickle.loads(pickle.dumps(copy.deepcopy(model)))
    assert torch.equal(logits_of(again), logits_of(model))


def test_second_adapters_of_all_linear_layers_mask_the_same_layers() -> None:
    model = get_peft_model(KIND.make(), SupermaskConfig(modules_to_save=KIND.head))
    model.add_adapter("other", SupermaskConfig(modules_to_save=KIND.head))
    inner = base_of(model)
    assert list(masks_of(inner, "other")) == list(masks_of(inner, "default"))
    first, second = (masks_of(inner, each)[KIND.layer].mask(each).scores for each in ("default", "other"))
    assert not torch.equal(first, second)


def test_layers_that_are_not_linear() -> None:
    kind = KINDS["vit"]
    config = SupermaskConfig(drop=0.25, target_modules=["projection"])
    model = get_peft_model(kind.make(), config)
    ((name, layer),) = masks_of(base_of(model), "default").items()
    assert isinstance(layer.base_layer, torch.nn.Conv2d)
    plain = kind.make()
    with torch.no_grad():
        plain.get_submodule(name).weight.mul_(layer.mask("default").entries())
    assert torch.equal(logits_of(model), logits_of(plain))


def test_text_is_generated_with_a_mask(tmp_path: Path) -> None:
    torch.manual_seed(0)
    size = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    settings = {**size, "vocab_size": WORDS, "num_key_value_heads": 2, "eos_token_id": 1, "bos_token_id": 1}
    base = transformers.LlamaForCausalLM(transformers.LlamaConfig(**settings, pad_token_id=0)).eval()
    ids = torch.randint(2, WORDS, (2, 5))
    model = get_peft_model(copy.deepcopy(base), SupermaskConfig(drop=0.4, task_type="CAUSAL_LM"))
    assert not any("lm_head" in name for name in masks_of(base_of(model), "default"))
    made = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=6, do_sample=False)
    assert made.shape[0] == 2
    model.save_pretrained(tmp_path)
    merged = PeftModel.from_pretrained(base, tmp_path).merge_and_unload()
    again = merged.generate(input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=6, do_sample=False)
    assert torch.equal(made, again)
