"""From an adapter to a task of a bank, and back."""

from pathlib import Path
from typing import Any

import pytest
import torch
from adapters.conftest import CLASSES, KINDS, base_of, inputs_of, logits_of, trained
from peft import PeftModel, get_peft_model
from torch import nn

from supermasks import Examples, Learner, Network, Task
from supermasks.bases import PretrainedBase
from supermasks.changes import Masked, Replaced
from supermasks.errors import BaseMismatchError, ConfigError, MaskError
from supermasks.input_form import InputForm
from supermasks.masks import Threshold, TopK
from supermasks.methods import BatchEnsemble, ExSSNeT, SupSup
from supermasks.nets import HuggingFaceClassifier
from supermasks.peft import SupermaskConfig, adapter_from_task, task_from_adapter
from supermasks.peft.coding import masks_of
from supermasks.scores import Spread
from supermasks.task_info import TaskInfo
from supermasks.training import Adam, Training

HEADS = {"bert": "classifier", "vit": "classifier", "gpt2": "score", "llama": "score", "distilbert": "classifier"}
NAMES = ("cat", "dog", "cow")
assert len(NAMES) == CLASSES


def moved(model: Any) -> Any:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.01)
    return model


def network_of(name: str, **settings: Any) -> Network:
    kind = KINDS[name]
    conv = [] if name != "gpt2" else ["*.c_attn.weight", "*.c_proj.weight", "*.c_fc.weight"]
    settings = {"select": conv or [nn.Linear], "head": f"model.{HEADS[name]}", **settings}
    return Network(HuggingFaceClassifier(kind.make()), PretrainedBase("tiny"), norm="frozen", **settings)


def info_of(name: str) -> TaskInfo:
    if name == "vit":
        return TaskInfo("pets", NAMES, (3, 8, 8))
    return TaskInfo("pets", NAMES, (8,), torch.int64, InputForm.TOKEN_IDS)


def asked(name: str, learner: Learner, task: str = "pets") -> torch.Tensor:
    inputs = inputs_of(KINDS[name].make())
    return learner.network.logits(inputs.get("pixel_values", inputs.get("input_ids")), learner.bank[task])


def learner_with(name: str, model: PeftModel, **settings: Any) -> Learner:
    learner = Learner(network_of(name, **settings))
    learner.add(task_from_adapter(model, learner.network, info_of(name)))
    return learner


@pytest.mark.parametrize("name", HEADS)
def test_an_adapter_becomes_a_task(name: str, tmp_path: Path) -> None:
    """Saved in a bank and loaded, it gives the logits of the adapter."""
    kind = KINDS[name]
    model = trained(get_peft_model(kind.make(), SupermaskConfig(drop=0.05, modules_to_save=kind.head)))
    learner = learner_with(name, model)
    assert torch.equal(asked(name, learner), logits_of(model))
    assert learner.bank["pets"].answers
    learner.save(tmp_path / "bank")
    loaded = Learner.load(tmp_path / "bank", HuggingFaceClassifier(kind.make()))
    assert torch.equal(asked(name, loaded), logits_of(model))


@pytest.mark.parametrize("name", HEADS)
def test_a_task_becomes_an_adapter_and_returns(name: str, tmp_path: Path) -> None:
    kind, network = KINDS[name], network_of(name)
    inputs = inputs_of(kind.make(), count=24)
    x = inputs.get("pixel_values", inputs.get("input_ids"))
    training = Training(steps=6, batch_size=8, optimiser=Adam(3e-2))
    learner = Learner(network, method=SupSup(TopK(0.9), Spread()), training=training)
    learner.learn(Task("pets", NAMES, Examples(x, torch.arange(24) % CLASSES)))
    state = learner.bank["pets"]
    adapted = adapter_from_task(kind.make(), network, state)
    assert torch.equal(logits_of(adapted), asked(name, learner))
    adapted.save_pretrained(tmp_path)
    loaded = PeftModel.from_pretrained(kind.make(), tmp_path)
    assert torch.equal(logits_of(loaded), asked(name, learner))
    back = task_from_adapter(loaded, network, state.info)
    alike = "model.pre_classifier.weight"  # PEFT takes it for a "classifier", so it is saved whole
    assert back.changes.keys() - state.changes.keys() <= {"model.pre_classifier.bias"}
    for each, change in state.changes.items():
        weight = network.shared(each, change.shape)
        assert torch.equal(back.changes[each].applied(weight), change.applied(weight))
        assert type(back.changes[each]) is (Replaced if each == alike else type(change))
    trained(adapted, seed=5)  # it can be trained further
    assert not torch.equal(logits_of(adapted), asked(name, learner))


def test_a_task_becomes_an_adapter_for_inference_beside_others(tmp_path: Path) -> None:
    kind, network = KINDS["bert"], network_of("bert")
    model = trained(get_peft_model(kind.make(), SupermaskConfig(drop=0.05, modules_to_save=kind.head)))
    state = task_from_adapter(model, network, info_of("bert"))
    config = SupermaskConfig(inference_mode=True)
    adapted = adapter_from_task(kind.make(), network, state, config, adapter_name="pets")
    assert all(layer.mask("pets").scores is None for layer in masks_of(base_of(adapted), "pets").values())
    assert torch.equal(logits_of(adapted), logits_of(model))


def test_weights_that_the_adapter_does_not_mask_are_kept() -> None:
    kind = KINDS["bert"]
    config = SupermaskConfig(drop=0.5, target_modules=["query"], modules_to_save=kind.head)
    learner = learner_with("bert", trained(get_peft_model(kind.make(), config)))
    changes = learner.bank["pets"].changes
    for name, change in changes.items():
        if isinstance(change, Masked):
            share = float(change.used().float().mean())
            assert share == (0.5 if name.endswith("query.weight") else 1.0), name


def test_what_does_not_fit_is_rejected() -> None:
    kind = KINDS["bert"]
    model = get_peft_model(kind.make(), SupermaskConfig(drop=0.05, modules_to_save=kind.head))
    network, info = network_of("bert"), info_of("bert")
    with pytest.raises(ConfigError, match="adapter of masks, got 'nothing'"):
        task_from_adapter(model, network, info, "nothing")
    with pytest.raises(ConfigError, match="masks the layers of the adapter"):
        task_from_adapter(model, network_of("bert", select=["*.query.weight"]), info)
    headless = get_peft_model(kind.make(), SupermaskConfig(drop=0.05, exclude_modules=["classifier"]))
    with pytest.raises(MaskError, match="has its own weights"):
        task_from_adapter(headless, network, info)
    other = get_peft_model(moved(kind.make()), SupermaskConfig(modules_to_save=kind.head))
    with pytest.raises(BaseMismatchError, match="to have the same weights, got others"):
        task_from_adapter(other, network, info)
    state = task_from_adapter(model, network, info)
    with pytest.raises(BaseMismatchError, match="to have the same weights, got others"):
        adapter_from_task(moved(kind.make()), network, state)
    with pytest.raises(ConfigError, match="with the parameters"):
        adapter_from_task(KINDS["gpt2"].make(), network, state)


@pytest.mark.parametrize("part", ["bert.embeddings.word_embeddings.weight", "bert.encoder.layer.0.output.dense.bias"])
def test_values_that_no_mask_covers_are_compared_too(part: str) -> None:
    kind, network, info = KINDS["bert"], network_of("bert"), info_of("bert")
    config = SupermaskConfig(drop=0.05, target_modules=["query"], modules_to_save=kind.head)
    state = task_from_adapter(get_peft_model(kind.make(), config), network, info)
    other = kind.make()
    with torch.no_grad():
        other.get_parameter(part).add_(0.5)
    with pytest.raises(BaseMismatchError, match=part):
        adapter_from_task(other, network, state)
    with pytest.raises(BaseMismatchError, match=part):
        task_from_adapter(get_peft_model(other, config), network, info)


def test_a_model_in_half_precision_is_named_as_such() -> None:
    kind = KINDS["bert"]
    model = get_peft_model(kind.make().bfloat16(), SupermaskConfig(drop=0.05, modules_to_save=kind.head))
    with pytest.raises(BaseMismatchError, match=r"rounded to torch\.bfloat16: build the network from the model"):
        task_from_adapter(model, network_of("bert"), info_of("bert"))


@pytest.mark.parametrize("method", [BatchEnsemble(first_trains=False), ExSSNeT(Threshold(0.0))])
def test_tasks_of_other_methods_are_no_adapters(method: Any) -> None:
    kind, network = KINDS["bert"], network_of("bert")
    x = inputs_of(kind.make(), count=24)["input_ids"]
    learner = Learner(network, method=method, training=Training(steps=4, batch_size=8, optimiser=Adam(1e-2)))
    learner.learn(Task("pets", NAMES, Examples(x, torch.arange(24) % CLASSES)))
    with pytest.raises((ConfigError, MaskError), match=r"learner\.export"):
        adapter_from_task(kind.make(), learner.network, learner.bank["pets"])
