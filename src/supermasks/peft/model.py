"""The tuner: puts masks over the layers of a model, and writes them as one coded tensor."""

from collections.abc import Mapping
from math import prod
from typing import Any

import torch
from peft.tuners.tuners_utils import BaseTuner
from torch import Tensor, nn

from supermasks.errors import ConfigError
from supermasks.foreign_layers import is_conv1d
from supermasks.masks import Drop, pack_bits
from supermasks.masks.drawn import Drawn
from supermasks.peft import coding
from supermasks.peft.adapter_mask import AdapterMask, LayerRule
from supermasks.peft.config import SupermaskConfig
from supermasks.peft.layer import SupermaskLayer, SupermaskLinear
from supermasks.peft.whole_model import WholeModel, joint_masks
from supermasks.scores import Spread

ALL_LINEAR = "all-linear"


class SupermaskModel(BaseTuner):
    """A model whose layers have masks. Made by `peft.get_peft_model(model, SupermaskConfig(...))`."""

    prefix: str = "supermask_"
    tuner_layer_cls = SupermaskLayer
    target_module_mapping: dict[str, list[str]] = {}  # noqa: RUF012 - as PEFT declares it

    def inject_adapter(self, model: nn.Module, adapter_name: str, *args: Any, **kwargs: Any) -> None:
        """Put masks over the layers that the settings name; then give each its rule.

        Raises:
            ConfigError: the rule makes masks whose entries are not all 0 or 1.
        """
        super().inject_adapter(model, adapter_name, *args, **kwargs)
        masks = coding.masks_of(model, adapter_name)
        config = _config(self.peft_config[adapter_name])
        rules: Mapping[str, LayerRule]
        if (whole := config.whole_model) is not None:
            rules = WholeModel(whole, {name: layer.mask(adapter_name) for name, layer in masks.items()}).layers()
        else:
            rules = config.layer_rules({name: layer.get_base_weight().numel() for name, layer in masks.items()})
        for name, rule in rules.items():
            masks[name].mask(adapter_name).rule = rule
        trained = [layer.mask(adapter_name) for layer in masks.values() if layer.mask(adapter_name).scores is not None]
        if trained and config.rule is not None:
            min(trained, key=lambda mask: prod(mask.shape)).entries()  # a rule without masks of 0 and 1 fails here

    def _prepare_adapter_config(self, peft_config: Any, model_config: Any) -> Any:
        del model_config
        if peft_config.target_modules is None:
            peft_config.target_modules = ALL_LINEAR
        return peft_config

    def _create_and_replace(
        self,
        peft_config: Any,
        adapter_name: str,
        target: nn.Module,
        target_name: str,
        parent: nn.Module,
        current_key: str,
        parameter_name: str | None = None,
    ) -> None:
        del parameter_name
        config = _config(peft_config)
        if isinstance(parent, nn.MultiheadAttention):
            raise ConfigError(
                f"expected a layer that is called, got {current_key!r}, whose weight nn.MultiheadAttention reads; "
                f"leave it out with exclude_modules=[{target_name!r}]"
            )
        if not isinstance(target, SupermaskLayer):
            linear = isinstance(target, nn.Linear) or is_conv1d(target)
            layer = SupermaskLinear(target) if linear else SupermaskLayer(target)
            layer.follow(self.active_adapters)
            if isinstance(parent, nn.TransformerEncoderLayer):
                layer.register_forward_pre_hook(_is_called)
            self._replace_module(parent, target_name, layer, target)
            target = layer
        shape, mask = tuple(target.get_base_weight().shape), None
        if not config.inference_mode:
            drawn, place = Spread().drawn(adapter_name, config.seed), len(coding.masks_of(self.model, adapter_name))
            mask = AdapterMask(shape, fresh_scores(config, drawn, place, shape), drawn)
        target.add(adapter_name, mask or AdapterMask(shape, None), bool(config.inference_mode))

    def _replace_module(self, parent: nn.Module, child_name: str, new_module: nn.Module, child: nn.Module) -> None:
        # PEFT would also copy the weight of the child, which layers made of layers do not have, as RoBERTa's head.
        del child
        setattr(parent, child_name, new_module)

    @classmethod
    def _get_adapter_state_dict(
        cls,
        model: nn.Module,
        config: Any,
        adapter_name: str,
        state_dict: dict[str, Tensor],
        unwanted_adapter_names: list[str],
    ) -> dict[str, Tensor]:
        del unwanted_adapter_names
        layers = coding.masks_of(model, adapter_name)
        config.fingerprint = coding.fingerprint(layers)
        entries, scores = dict[str, Tensor](), dict[str, Tensor]()
        for name, layer in layers.items():
            mask, key = layer.mask(adapter_name), coding.key_of(name, adapter_name)
            if f"{key}.scores" in state_dict:
                scores[f"{key}.scores"] = state_dict[f"{key}.scores"]
                entries[name] = mask.entries_of(state_dict[f"{key}.scores"])
            else:
                entries[name] = mask.entries()
        if scores and (whole := _config(config).whole_model) is not None:
            entries = joint_masks(
                whole, {name: scores[f"{coding.key_of(name, adapter_name)}.scores"] for name in layers}
            )
        began = {layer.mask(adapter_name).drawn for layer in layers.values()}
        code = coding.encode(entries, began.pop() if len(began) == 1 else None)
        return {coding.CODE: code, **(scores if config.save_scores else {})}

    @classmethod
    def _remap_adapter_state_dict_for_load(
        cls, model: nn.Module, config: Any, adapter_name: str, state_dict: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        layers = coding.masks_of(model, adapter_name)
        found = super()._remap_adapter_state_dict_for_load(model, config, adapter_name, state_dict)
        code = coding.take_code(found)
        coding.check_fingerprint(config.fingerprint, layers)
        decoded, drawn = coding.decode(code, layers)
        for place, (name, entries) in enumerate(decoded.items()):
            mask, key = layers[name].mask(adapter_name), coding.key_of(name, adapter_name)
            mask.drawn = drawn or mask.drawn
            found |= _loaded(_config(config), mask, key, entries, found, place)
        if (whole := _config(config).whole_model) is not None:
            keys = {name: f"{coding.key_of(name, adapter_name)}.scores" for name in layers}
            _check_joint(whole, {name: found[key] for name, key in keys.items() if key in found}, decoded)
        return coding.without_spare_scores(found, layers, adapter_name)


def _is_called(layer: nn.Module, inputs: object) -> None:
    """Do nothing. In evaluation mode, nn.TransformerEncoderLayer calls its layers only if one of them has a hook."""


def fresh_scores(config: SupermaskConfig, drawn: Drawn, place: int, shape: tuple[int, ...]) -> Tensor:
    """Return the initial scores of a layer.

    Args:
        config: gives their range.
        drawn: the random numbers of all layers.
        place: of the layer, among those with a mask of the adapter.
        shape: of its weight.
    """
    return config.lowest + config.spread * torch.from_numpy(drawn.numbers(str(place), shape))


def _loaded(
    config: SupermaskConfig,
    mask: AdapterMask,
    key: str,
    entries: Tensor,
    found: dict[str, Tensor],
    place: int,
) -> dict[str, Tensor]:
    """Return what a loaded mask puts into its layer: bits, or scores unless those were saved too."""
    if mask.scores is None:
        return {f"{key}.bits": pack_bits(entries)}
    if f"{key}.scores" in found:
        return {}
    with torch.device("cpu"):
        assert mask.drawn is not None  # there are scores
        fresh = fresh_scores(config, mask.drawn, place, mask.shape)
        if config.whole_model is not None:
            return {f"{key}.scores": torch.where(entries, fresh.clamp(min=config.lowest + config.spread / 1000), 0.0)}
        return {f"{key}.scores": mask.scores_of(entries, fresh, config.lowest, config.spread)}


def _check_joint(rule: Drop, scores: Mapping[str, Tensor], entries: Mapping[str, Tensor]) -> None:
    """Raise ConfigError unless the rule makes these masks of the scores of all layers."""
    if not scores:
        return  # the adapter was loaded for inference
    made = joint_masks(rule, scores)
    if not all(torch.equal(made[name].cpu(), entries[name].cpu()) for name in made):
        raise ConfigError(
            f"this adapter cannot be trained further: {rule!r} cannot make its mask; load it for inference, or save it "
            "with save_scores=True"
        )


def _config(config: Any) -> SupermaskConfig:
    assert isinstance(config, SupermaskConfig)
    return config
