"""A layer whose weight goes through the masks of adapters."""

import warnings
from typing import Any

import torch
from peft.tuners.tuners_utils import BaseTunerLayer, check_adapters_to_merge
from torch import Tensor, nn
from torch.func import functional_call

from supermasks.errors import ConfigError
from supermasks.peft.adapter_mask import AdapterMask


class SupermaskLayer(nn.Module, BaseTunerLayer):
    """A layer with a weight, and the masks of any number of adapters over it.

    If several adapters are active, a weight is kept if all of them keep it.

    Attributes:
        base_layer: the layer itself, frozen.
        supermask_masks: an `AdapterMask` for each adapter, by its name.

    Args:
        base_layer: any layer that computes with a parameter called `weight`.

    Raises:
        ConfigError: it has no such parameter, or that is not of floating-point numbers.
    """

    adapter_layer_names: tuple[str, ...] = ("supermask_masks",)
    other_param_names: tuple[str, ...] = ()

    def __init__(self, base_layer: nn.Module) -> None:
        super().__init__()
        weight = getattr(base_layer, "weight", None)
        if not isinstance(weight, nn.Parameter) or not weight.is_floating_point():
            got = "none" if weight is None else f"a {type(weight).__name__} of {weight.dtype}"
            raise ConfigError(
                f"expected a layer with a floating-point parameter 'weight', got {got} in a "
                f"{type(base_layer).__name__}; name other layers in target_modules"
            )
        self.base_layer = base_layer
        self.supermask_masks = nn.ModuleDict()
        self._disable_adapters = False
        self.merged_adapters: list[str] = []
        self._taken: list[tuple[Tensor, Tensor]] = []

    def add(self, adapter_name: str, mask: AdapterMask, inference_mode: bool) -> None:
        """Add the mask of an adapter."""
        self.supermask_masks[adapter_name] = mask
        self._move_adapter_to_device_of_base_layer(adapter_name)
        self.set_adapter(self.active_adapters, inference_mode=inference_mode)

    def follow(self, active: list[str]) -> None:
        """Take over which adapters are active in the model."""
        self._active_adapter = active

    def mask(self, adapter_name: str) -> AdapterMask:
        """Return the mask of an adapter."""
        found = self.supermask_masks[adapter_name]
        assert isinstance(found, AdapterMask)
        return found

    def original_weight(self) -> Tensor:
        """Return the weight without any mask, also while adapters are merged; it must not be changed."""
        weight = self.get_base_weight()
        if self._taken:
            weight = weight.clone()
            for entries, values in reversed(self._taken):
                weight[entries.to(weight.device)] = values.to(weight)
        return weight

    def effective_weight(self, adapter_names: list[str]) -> Tensor:
        """Return the weight through the masks of some adapters, differentiable in their scores.

        Args:
            adapter_names: those that this layer does not have are ignored.
        """
        weight = self.weight
        masks = [self.mask(name) for name in adapter_names if name in self.supermask_masks]
        if len(masks) == 1:
            return masks[0].applied(weight)
        for mask in masks:
            weight = weight * mask.factor(weight.dtype)
        return weight

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Any:
        """Return what the base layer computes with its masked weight."""
        if self.disable_adapters and self.merged:
            self.unmerge()
        names = [name for name in self.active_adapters if name in self.supermask_masks]
        if self.disable_adapters or self.merged or not names:
            return self.base_layer(x, *args, **kwargs)
        return functional_call(self.base_layer, {"weight": self.effective_weight(names)}, (x, *args), kwargs)

    def merge(self, safe_merge: bool = False, adapter_names: list[str] | None = None) -> None:
        """Write the masked weight into the base layer. What is dropped is remembered, so that `unmerge` is exact.

        Args:
            safe_merge: check that all values are finite.
            adapter_names: of the adapters; by default those that are active.

        Raises:
            ValueError: a value is not finite, if that is checked.
        """
        for name in check_adapters_to_merge(self, adapter_names):
            if name not in self.supermask_masks:
                continue
            weight, dropped = self.get_base_weight(), ~self.mask(name).entries()
            if safe_merge and not bool(weight[~dropped].isfinite().all()):
                raise ValueError(f"the weights under adapter {name!r} are not all finite; the model is damaged")
            self._taken.append((dropped, weight[dropped]))
            self.set_base_weight(weight.masked_fill(dropped, 0.0))
            self.merged_adapters.append(name)

    def unmerge(self) -> None:
        """Put back the weights as they were before the merge, bit for bit."""
        if not self.merged:
            warnings.warn("Already unmerged. Nothing to do.", stacklevel=2)
            return
        self.set_base_weight(self.original_weight().clone())
        self._taken.clear()
        self.merged_adapters.clear()

    def _move_adapter_to_device_of_base_layer(self, adapter_name: str, device: torch.device | None = None) -> None:
        # PEFT would also convert scores to the type of the weights. In bfloat16 many scores would be equal.
        mask = self.mask(adapter_name)
        if not any(tensor.is_meta for tensor in mask.state_dict().values()):
            mask.to(self.weight.device if device is None else device)

    def __repr__(self) -> str:
        return "supermask." + super().__repr__()


class SupermaskLinear(SupermaskLayer):
    """The same for linear layers, `Conv1D` of GPT-2 included. PEFT finds linear layers by the name of their class."""
