"""One budget for all layers of an adapter: the lowest scores of the whole model are dropped together."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from supermasks.masks import Drop
from supermasks.masks.rules import straight_through
from supermasks.peft.adapter_mask import AdapterMask


class WholeModel:
    """Makes the masks of all layers at once, for a `Drop` that is not `by_layer`.

    They are made when a layer asks for its mask, and kept for the other layers of the same forward pass. They are made
    anew when a layer asks again, or when scores have changed.

    Args:
        rule: how many weights of the whole model are dropped.
        masks: of the adapter, by the name of their layer.

    Raises:
        DensityError: nothing would be kept.
    """

    def __init__(self, rule: Drop, masks: Mapping[str, AdapterMask]) -> None:
        rule.dropped({name: mask.shape for name, mask in masks.items()})
        self._rule, self._masks = rule, dict(masks)
        self._made = dict[str, Tensor]()
        self._asked = set[str]()
        self._seen: object = None

    def layers(self) -> dict[str, "LayerOfModel"]:
        """Return what each layer takes as its rule."""
        return {name: LayerOfModel(self, name) for name in self._masks}

    @torch.no_grad()
    def mask(self, name: str) -> Tensor:
        """Return the mask of a layer, boolean."""
        scores = {layer: mask.scores for layer, mask in self._masks.items() if mask.scores is not None}
        seen = [(id(values), values._version) for values in scores.values()]
        if seen != self._seen or name in self._asked:
            self._made = joint_masks(self._rule, scores)
            self._asked, self._seen = set(), seen
        self._asked.add(name)
        return self._made[name]


class LayerOfModel:
    """The rule of one layer, which depends on the scores of all."""

    def __init__(self, whole: WholeModel, name: str) -> None:
        self._whole, self._name = whole, name

    def masks(self, scores: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the mask, with a straight-through gradient."""
        return self.masked({}, scores)

    def masked(self, weights: Mapping[str, Tensor], scores: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the masked weight, differentiable in the scores."""
        return straight_through(self._own, False, weights, scores)

    def entries(self, scores: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the mask, boolean."""
        return {name: self._whole.mask(self._name) for name in scores}

    def _own(self, scores: Sequence[Tensor], stacked: int) -> list[Tensor]:
        del stacked  # an adapter has one mask
        return [self._whole.mask(self._name).to(scores[0].device, scores[0].dtype)]


def joint_masks(rule: Drop, scores: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the masks that a rule makes of the scores of all layers, boolean, on the device of the first of them."""
    device = next(iter(scores.values())).device
    together = {name: values.detach().to(device) for name, values in scores.items()}
    return rule.entries(together)
