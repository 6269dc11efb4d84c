"""Masks as adapters of PEFT, on six architectures: PEFT's own patterns of use."""

import copy
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from adapters.conftest import CLASSES, KINDS, Kind, base_of, inputs_of, logits_of, trained
from peft import PeftConfig, PeftModel, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file
from torch import Tensor, nn

from supermasks.errors import BaseMismatchError, ConfigError, MaskError, SupermasksWarning
from supermasks.masks import Annealed, Drop, Mask, MaskRule, Threshold, encode_mask
from supermasks.masks.coding import BY_LEVELS
from supermasks.peft import SupermaskConfig, SupermaskLayer, SupermaskLinear
from supermasks.peft.coding import CODE, decode, masks_of


@dataclass(frozen=True)
class Faint(MaskRule):
    """Masks of 0 and 0.9."""

    def masks(self, scores: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: 0.9 * mask for name, mask in Threshold().masks(scores).items()}

    def densities(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        del shapes


@dataclass(frozen=True)
class FaintDrop(Drop):
    """The same, over the whole model."""

    def masks(self, scores: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: 0.9 * mask for name, mask in super().masks(scores).items()}


def config(kind: Kind, **settings: Any) -> SupermaskConfig:
    return SupermaskConfig(modules_to_save=kind.head, **{"drop": 0.1, **settings})


def adapted(kind: Kind, **settings: Any) -> Any:
    return get_peft_model(kind.make(), config(kind, **settings))


def entries(model: Any, adapter: str = "default") -> dict[str, Tensor]:
    return {name: layer.mask(adapter).entries() for name, layer in masks_of(base_of(model), adapter).items()}


def same_masks(model: Any, other: Any, adapter: str = "default", as_adapter: str = "default") -> bool:
    ours, theirs = entries(model, adapter), entries(other, as_adapter)
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def plainly_masked(kind: Kind, masks: dict[str, Tensor], model: Any, adapter: str = "default") -> Any:
    """Return the plain model with the masks written into its weights, and the trained head in place of its own."""
    plain = kind.make()
    with torch.no_grad():
        for name, mask in masks.items():
            plain.get_submodule(name).weight.mul_(mask)
        for name in kind.head:
            wrapper = base_of(model).get_submodule(name)
            plain.get_submodule(name).load_state_dict(wrapper.modules_to_save[adapter].state_dict())
    return plain


def test_all_linear_layers_but_the_head_are_masked(kind: Kind) -> None:
    model = adapted(kind)
    layers = masks_of(base_of(model), "default")
    assert len(layers) == kind.layers
    assert kind.layer in layers
    assert all(isinstance(layer, SupermaskLinear) for layer in layers.values())
    assert not any(name.split(".")[0] in kind.head for name in layers)
    for name, mask in entries(model).items():
        dropped = mask.numel() - int(mask.sum())
        assert dropped == round(0.1 * mask.numel()), name
    own = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert all(".scores" in name or ".modules_to_save." in name for name in own)
    assert sum(".scores" in name for name in own) == kind.layers


def test_it_computes_with_masked_weights_and_only_scores_and_head_are_trained(kind: Kind) -> None:
    model = adapted(kind)
    before, frozen = entries(model), copy.deepcopy(kind.make().state_dict())
    trained(model)
    masks = entries(model)
    assert any(not torch.equal(before[name], masks[name]) for name in masks)
    assert {int((~mask).sum()) for mask in masks.values()} == {int((~mask).sum()) for mask in before.values()}
    assert torch.equal(logits_of(model), logits_of(plainly_masked(kind, masks, model)))
    for name, value in model.unload().state_dict().items():
        if not any(name.startswith(head) for head in kind.head):
            assert torch.equal(value, frozen[name]), name


def test_scores_have_the_straight_through_gradient(kind: Kind) -> None:
    model = adapted(kind, rule=Threshold(0.05), drop=None)
    batch, labels = inputs_of(model), torch.arange(6) % CLASSES
    model(**batch, labels=labels).loss.backward()
    layer = masks_of(base_of(model), "default")[kind.layer]
    plain = plainly_masked(kind, entries(model), model)
    plain(**batch, labels=labels).loss.backward()
    expected = plain.get_submodule(kind.layer).weight.grad * kind.make().get_submodule(kind.layer).weight
    torch.testing.assert_close(layer.mask("default").scores.grad, expected, rtol=1e-4, atol=1e-7)


def test_saved_files_are_small_and_load_into_a_new_model(kind: Kind, tmp_path: Path) -> None:
    model = trained(adapted(kind))
    model.save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "adapter_model.safetensors")
    assert tensors[CODE].dtype == torch.uint8
    heads = {name.split(".")[2] for name in tensors if name != CODE}
    assert heads == set(kind.head)
    count = sum(mask.numel() for mask in entries(model).values())
    assert len(tensors[CODE]) < 0.6 * count / 8  # the entropy of a tenth is 0.47 bits
    loaded = PeftModel.from_pretrained(kind.make(), tmp_path)
    assert same_masks(loaded, model)
    assert torch.equal(logits_of(loaded), logits_of(model))
    layer = masks_of(base_of(loaded), "default")[kind.layer]
    assert layer.mask("default").scores is None  # a bit a weight
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    assert isinstance(PeftConfig.from_pretrained(tmp_path), SupermaskConfig)
    # What was loaded is saved with the same bytes.
    loaded.save_pretrained(tmp_path / "again")
    again = load_file(tmp_path / "again" / "adapter_model.safetensors")
    assert again.keys() == tensors.keys()
    assert all(torch.equal(again[name], tensors[name]) for name in tensors)


def test_an_adapter_can_be_trained_on_from_its_file(kind: Kind, tmp_path: Path) -> None:
    model = trained(adapted(kind))
    model.save_pretrained(tmp_path)
    loaded = PeftModel.from_pretrained(kind.make(), tmp_path, is_trainable=True)
    assert same_masks(loaded, model)
    assert torch.equal(logits_of(loaded), logits_of(model))
    before = entries(loaded)
    trained(loaded, seed=9)
    assert any(not torch.equal(before[name], mask) for name, mask in entries(loaded).items())


def test_saved_scores_resume_exactly(kind: Kind, tmp_path: Path) -> None:
    model = trained(adapted(kind, save_scores=True))
    model.save_pretrained(tmp_path)
    resumed = PeftModel.from_pretrained(kind.make(), tmp_path, is_trainable=True)
    for name, layer in masks_of(base_of(model), "default").items():
        theirs = masks_of(base_of(resumed), "default")[name]
        assert torch.equal(theirs.mask("default").scores, layer.mask("default").scores)
    only = PeftModel.from_pretrained(kind.make(), tmp_path)
    assert torch.equal(logits_of(only), logits_of(model))


def test_several_adapters_on_one_model(kind: Kind, tmp_path: Path) -> None:
    model = trained(adapted(kind))
    first = logits_of(model)
    model.add_adapter("other", config(kind, drop=0.3, seed=5))
    model.set_adapter("other")
    trained(model, seed=8)
    second = logits_of(model)
    assert not torch.equal(first, second)
    model.set_adapter("default")
    assert torch.equal(logits_of(model), first)
    with model.disable_adapter():
        assert torch.equal(logits_of(model), logits_of(kind.make()))
    assert torch.equal(logits_of(model), first)
    model.save_pretrained(tmp_path)
    loaded = PeftModel.from_pretrained(kind.make(), tmp_path)
    loaded.load_adapter(tmp_path / "other", adapter_name="two")
    assert torch.equal(logits_of(loaded), first)
    loaded.set_adapter("two")
    assert torch.equal(logits_of(loaded), second)
    with pytest.warns(UserWarning, match="two was active which is now deleted"):  # PEFT's own
        loaded.delete_adapter("two")
    assert loaded.active_adapters == ["default"]
    assert torch.equal(logits_of(loaded), first)
    assert not masks_of(base_of(loaded), "two")


def test_merging_and_unmerging_are_exact(kind: Kind) -> None:
    model = trained(adapted(kind))
    expected, masks = logits_of(model), entries(model)
    original = kind.make().get_submodule(kind.layer).weight
    layer = masks_of(base_of(model), "default")[kind.layer]
    model.merge_adapter(safe_merge=True)
    assert torch.equal(layer.base_layer.weight, original * masks[kind.layer])
    assert torch.equal(layer.original_weight(), original)
    assert torch.equal(logits_of(model), expected)
    model.unmerge_adapter()
    assert torch.equal(layer.base_layer.weight, original)
    assert torch.equal(logits_of(model), expected)
    plain = plainly_masked(kind, masks, model)
    merged = model.merge_and_unload()
    assert type(merged) is type(plain)
    assert merged.state_dict().keys() == plain.state_dict().keys()
    assert torch.equal(logits_of(merged), expected)


def test_unloading_gives_back_the_model(kind: Kind) -> None:
    model = adapted(kind)
    trained(model)
    plain = model.unload()
    assert not any(isinstance(layer, SupermaskLayer) for layer in plain.modules())
    for name, value in kind.make().state_dict().items():
        if not any(name.startswith(head) for head in kind.head):
            assert torch.equal(plain.state_dict()[name], value)


def test_two_active_adapters_keep_what_both_keep(kind: Kind) -> None:
    model = get_peft_model(kind.make(), SupermaskConfig(drop=0.2, task_type=None))
    model.add_adapter("other", SupermaskConfig(drop=0.2, seed=4))
    model.base_model.set_adapter(["default", "other"])
    both = {name: mask & entries(model, "other")[name] for name, mask in entries(model).items()}
    plain = kind.make()
    with torch.no_grad():
        for name, mask in both.items():
            plain.get_submodule(name).weight.mul_(mask)
    torch.testing.assert_close(logits_of(model), logits_of(plain))
    model.train()
    model(**inputs_of(model), labels=torch.arange(6) % CLASSES).loss.backward()
    scores = [masks_of(base_of(model), each)[kind.layer].mask(each).scores for each in ("default", "other")]
    assert all(bool(score.grad.abs().sum() > 0) for score in scores)
    model.merge_adapter()
    torch.testing.assert_close(logits_of(model), logits_of(plain))
    model.to(torch.float64).unmerge_adapter()  # what was taken out follows the type of the model
    model.to(torch.float32)
    assert torch.equal(
        masks_of(base_of(model), "default")[kind.layer].base_layer.weight, kind.make().get_submodule(kind.layer).weight
    )


def test_the_state_dict_has_one_tensor_of_masks(kind: Kind) -> None:
    model = trained(adapted(kind))
    state = get_peft_model_state_dict(model)
    assert CODE in state
    assert not any("scores" in name for name in state)
    other = adapted(kind, seed=77)
    assert not same_masks(other, model)
    result = set_peft_model_state_dict(other, state)
    assert not result.unexpected_keys
    assert torch.equal(logits_of(other), logits_of(model))


def test_loading_without_memory_for_initial_values(kind: Kind, tmp_path: Path) -> None:
    model = trained(adapted(kind))
    model.save_pretrained(tmp_path)
    loaded = PeftModel.from_pretrained(kind.make(), tmp_path, low_cpu_mem_usage=True)
    assert torch.equal(logits_of(loaded), logits_of(model))


def test_models_in_bfloat16(kind: Kind, tmp_path: Path) -> None:
    model = get_peft_model(kind.make().to(torch.bfloat16), config(kind))
    scores = masks_of(base_of(model), "default")[kind.layer].mask("default").scores
    assert scores.dtype == torch.float32
    trained(model)
    model.save_pretrained(tmp_path)
    loaded = PeftModel.from_pretrained(kind.make(), tmp_path)  # in float32, without a warning
    assert same_masks(loaded, model)


def test_a_count_is_exact_over_all_layers(kind: Kind) -> None:
    for settings, dropped in (({"drop": 101}, 101), ({"drop": 0}, 0)):
        masks = entries(adapted(kind, **settings))
        assert sum(int((~mask).sum()) for mask in masks.values()) == dropped
    masks = entries(adapted(kind, drop=None, keep=500))
    assert sum(int(mask.sum()) for mask in masks.values()) == 500


def test_one_budget_for_the_whole_model(kind: Kind, tmp_path: Path) -> None:
    model = adapted(kind, drop=None, rule=Drop(101))
    layers = masks_of(base_of(model), "default")
    frozen = copy.deepcopy(kind.make().state_dict())

    def expected() -> dict[str, Tensor]:
        scores = {name: layer.mask("default").scores.detach() for name, layer in layers.items()}
        lowest = torch.cat([values.flatten() for values in scores.values()]).kthvalue(101).values
        return {name: values > lowest for name, values in scores.items()}

    for steps in (0, 1, 6):
        trained(model, steps=steps)
        masks, wanted = entries(model), expected()
        assert all(torch.equal(masks[name], wanted[name]) for name in wanted)
        assert sum(int((~mask).sum()) for mask in masks.values()) == 101
        assert torch.equal(logits_of(model), logits_of(plainly_masked(kind, masks, model)))
    counts = {int((~mask).sum()) / mask.numel() for mask in masks.values()}
    assert len(counts) > 2  # not the same share of each layer
    with torch.no_grad():
        layers[kind.layer].mask("default").scores.data.sub_(1.0)  # this changes no version of the tensor
    assert torch.equal(logits_of(model), logits_of(plainly_masked(kind, expected(), model)))
    copied = copy.deepcopy(model)
    trained(copied, seed=5)
    assert same_masks(model, model)
    assert not same_masks(copied, model)
    model.save_pretrained(tmp_path)
    loaded = PeftModel.from_pretrained(kind.make(), tmp_path)
    assert same_masks(loaded, model)
    assert torch.equal(logits_of(loaded), logits_of(model))
    further = PeftModel.from_pretrained(kind.make(), tmp_path, is_trainable=True)
    assert same_masks(further, model)
    trained(further)
    assert sum(int((~mask).sum()) for mask in entries(further).values()) == 101
    merged = model.merge_and_unload()
    assert torch.equal(merged.get_submodule(kind.layer).weight, frozen[f"{kind.layer}.weight"] * expected()[kind.layer])


def test_a_budget_of_the_whole_model_that_keeps_nothing_is_rejected(kind: Kind, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="must keep something"):
        adapted(kind, drop=None, rule=Drop(10**9))
    adapted(kind, drop=None, rule=Drop(30)).save_pretrained(tmp_path)
    written = json.loads((tmp_path / "adapter_config.json").read_text())
    written["rule"]["count"] = 40
    (tmp_path / "adapter_config.json").write_text(json.dumps(written))
    with pytest.raises(ConfigError, match="cannot make its mask"):
        PeftModel.from_pretrained(kind.make(), tmp_path, is_trainable=True)


def test_settings_are_checked_and_written_as_json(kind: Kind, tmp_path: Path) -> None:
    model = adapted(kind, drop=None, rule=Threshold(0.05))
    model.save_pretrained(tmp_path)
    written = json.loads((tmp_path / "adapter_config.json").read_text())
    assert written["rule"] == {"type": "Threshold", "threshold": 0.05}
    assert written["peft_type"] == "SUPERMASK"
    loaded = PeftModel.from_pretrained(kind.make(), tmp_path, is_trainable=True)
    assert same_masks(loaded, model)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"drop": 0.1, "keep": 0.5}, "one of drop, keep and rule, got drop and keep"),
        ({"drop": 1.5}, "below 1.0, or a whole number of weights, got 1.5"),
        ({"drop": -1}, "got -1"),
        ({"keep": True}, "got True"),
        ({"rule": {"type": "Nothing"}}, "Nothing"),
        ({"spread": 0.0}, "above 0, got 0.0"),
        ({"spread": "0.1"}, "above 0, got '0.1'"),
        ({"drop": float("nan")}, "got nan"),
        ({"rule": Annealed(Drop(share=0.1, by_layer=True))}, "stays the same in training"),
    ],
)
def test_wrong_settings_are_rejected(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SupermaskConfig(**settings)


class WithEncoder(nn.Module):
    """A layer of torch, which reads the weights of its parts in evaluation mode, and does not call them."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.encoder = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, dropout=0.0)

    def forward(self, x: Tensor) -> Tensor:
        return self.encoder(x)


def test_a_transformer_layer_of_torch_is_masked_in_evaluation_mode() -> None:
    model = get_peft_model(WithEncoder(), SupermaskConfig(drop=0.3, target_modules=["linear1", "linear2"]))  # pyright: ignore[reportArgumentType]
    x = torch.randn(4, 5, 8)
    with torch.no_grad():
        answers = model.eval()(x)
        assert torch.allclose(answers, model.train()(x), atol=1e-5)
        assert not torch.allclose(answers, WithEncoder().eval()(x), atol=1e-2)
        assert torch.allclose(answers, model.merge_and_unload().eval()(x), atol=1e-5)  # pyright: ignore[reportCallIssue]


def test_a_layer_that_is_not_called_is_rejected() -> None:
    with pytest.raises(ConfigError, match=r"exclude_modules=\['out_proj'\]"):
        get_peft_model(WithEncoder(), SupermaskConfig(target_modules=["out_proj"]))  # pyright: ignore[reportArgumentType]


def test_too_many_dropped_weights_and_layers_without_a_weight(kind: Kind) -> None:
    with pytest.raises(ConfigError, match="to drop at most all"):
        adapted(kind, drop=10**9)
    with pytest.raises(ConfigError, match="parameter 'weight', got none"):
        get_peft_model(kind.make(), SupermaskConfig(target_modules=[kind.layer.split(".")[0]]))


def test_an_adapter_of_another_model_is_noticed(kind: Kind, tmp_path: Path) -> None:
    model = trained(adapted(kind))
    model.save_pretrained(tmp_path)
    other = kind.make()
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(0.01)
    with pytest.warns(SupermasksWarning, match="trained over other weights"):
        PeftModel.from_pretrained(other, tmp_path)
    written = json.loads((tmp_path / "adapter_config.json").read_text())
    written["exclude_modules"] = [kind.layer]
    (tmp_path / "adapter_config.json").write_text(json.dumps(written))
    with pytest.raises(BaseMismatchError, match="other layers than"):
        PeftModel.from_pretrained(kind.make(), tmp_path)


def test_a_file_without_masks_is_rejected(kind: Kind) -> None:
    model = adapted(kind)
    state = get_peft_model_state_dict(model)
    with pytest.raises(MaskError, match="expected the tensor"):
        set_peft_model_state_dict(model, {name: value for name, value in state.items() if name != CODE})
    with pytest.raises(MaskError):
        set_peft_model_state_dict(model, {**state, CODE: state[CODE][:5]})


def test_files_are_kilobytes(kind: Kind, tmp_path: Path) -> None:
    model = trained(adapted(kind))
    model.save_pretrained(tmp_path)
    heads = sum(parameter.numel() * 4 for name, parameter in model.named_parameters() if ".modules_to_save." in name)
    assert os.path.getsize(tmp_path / "adapter_model.safetensors") - heads < 3000


def test_the_random_numbers_of_the_scores_save_bytes(tmp_path: Path) -> None:
    """Under another name of the adapter, when it is saved again, and when it is trained further."""
    kind = KINDS["bert"]
    model = trained(adapted(kind, drop=0.3), rate=3e-3)
    plain = len(encode_mask(Mask.pack(entries(model))))
    model.save_pretrained(tmp_path / "first")
    code = load_file(tmp_path / "first" / "adapter_model.safetensors")[CODE]
    assert code[0] == BY_LEVELS
    assert len(code) < 0.8 * plain
    loaded = PeftModel.from_pretrained(kind.make(), tmp_path / "first", adapter_name="other")
    assert same_masks(model, loaded, as_adapter="other")
    loaded.save_pretrained(tmp_path / "second")
    assert torch.equal(load_file(tmp_path / "second" / "other" / "adapter_model.safetensors")[CODE], code)
    further = PeftModel.from_pretrained(kind.make(), tmp_path / "first", is_trainable=True)
    assert same_masks(model, further)
    trained(further, seed=9, rate=3e-3).save_pretrained(tmp_path / "third")
    third = load_file(tmp_path / "third" / "adapter_model.safetensors")[CODE]
    assert len(third) < 0.9 * plain
    assert same_masks(further, PeftModel.from_pretrained(kind.make(), tmp_path / "third"))


def test_an_adapter_is_loaded_into_a_model_inside_of_another_module(tmp_path: Path) -> None:
    """The names of the layers are others, their order is the same."""
    kind = KINDS["bert"]
    model = trained(adapted(kind, drop=0.3), rate=3e-3)
    model.save_pretrained(tmp_path)
    code = load_file(tmp_path / "adapter_model.safetensors")[CODE]
    layers = {f"inner.{name}": layer for name, layer in masks_of(base_of(model), "default").items()}
    found, _ = decode(code, layers)
    assert all(torch.equal(found[f"inner.{name}"], mask) for name, mask in entries(model).items())


@pytest.mark.parametrize("rule", [Faint(), FaintDrop(share=0.1), FaintDrop(share=0.1, by_layer=True)], ids=repr)
def test_a_rule_whose_masks_are_not_of_0_and_1_is_refused_before_the_training(kind: Kind, rule: MaskRule) -> None:
    """Such a mask would be rounded where it is stored, so that the loaded adapter would answer differently."""
    with pytest.raises(ConfigError, match=rf"{type(rule).__name__}\.masks must return masks of 0 and 1, got 0\.9"):
        adapted(kind, drop=None, rule=rule)
