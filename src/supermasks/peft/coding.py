"""The masks of an adapter as one tensor of bytes, in the file that PEFT writes."""

import hashlib
import warnings
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from supermasks.errors import BaseMismatchError, MaskError, SupermasksWarning
from supermasks.masks import Mask, decode_mask, encode_mask
from supermasks.masks.drawn import Drawn
from supermasks.peft.layer import SupermaskLayer

CODE = "base_model.supermask_code"
"""The name of the tensor in the file."""

SAMPLED = 256
"""How many entries of each weight the fingerprint sees, evenly spaced."""

Layers = Mapping[str, SupermaskLayer]


def masks_of(model: nn.Module, adapter_name: str) -> dict[str, SupermaskLayer]:
    """Return the layers that have a mask of an adapter, by their name in a model, in the order of the model."""
    return {
        name: layer
        for name, layer in model.named_modules()
        if isinstance(layer, SupermaskLayer) and adapter_name in layer.supermask_masks
    }


def key_of(layer: str, adapter_name: str) -> str:
    """Return the name of the mask of an adapter in the state of a model."""
    return f"{layer}.supermask_masks.{adapter_name}"


def encode(entries: Mapping[str, Tensor], drawn: Drawn | None = None) -> Tensor:
    """Return the masks of all layers as bytes, uint8 (see `supermasks.masks.encode_mask`).

    Layers are known by their places: their names differ between a model and the same model inside of another module.

    Args:
        entries: boolean, by the name of the layer, in the order of the model.
        drawn: where the scores of the masks began, by the places of the layers.
    """
    return encode_mask(Mask.pack({str(place): value.cpu() for place, value in enumerate(entries.values())}, drawn))


def decode(code: Tensor, layers: Layers) -> tuple[dict[str, Tensor], Drawn | None]:
    """Return the mask of each layer, boolean, and where the scores began, if the code says so.

    Args:
        code: what `encode` returned.
        layers: the same layers, by any names, in the same order.

    Raises:
        MaskError: the bytes are damaged, or were written for other layers.
    """
    weights = [layer.get_base_weight() for layer in layers.values()]
    mask = decode_mask(code.cpu(), {str(place): tuple(weight.shape) for place, weight in enumerate(weights)})
    return {name: mask[str(place)] for place, name in enumerate(layers)}, mask.drawn


def take_code(state: dict[str, Tensor]) -> Tensor:
    """Take the coded masks out of the state of an adapter, and return them.

    Raises:
        MaskError: there are none.
    """
    for name in list(state):
        if name.rpartition(".")[2] == CODE.rpartition(".")[2]:
            return state.pop(name)
    raise MaskError(
        f"expected the tensor {CODE!r} in the file of the adapter, got {list(state)[:5]}; get the file again"
    )


def without_spare_scores(state: dict[str, Tensor], layers: Layers, adapter_name: str) -> dict[str, Tensor]:
    """Return the state without scores that were saved, where the layers of the adapter have bits."""
    ends = {f"{name}.supermask_masks.scores" for name in layers if layers[name].mask(adapter_name).scores is None}
    return {name: value for name, value in state.items() if not any(name.endswith(end) for end in ends)}


def fingerprint(layers: Layers) -> str:
    """Return a fingerprint of the weights under masks: of their shapes, and of a few of their values.

    Values are rounded to bfloat16, so that a model that is loaded in another precision has the same fingerprint.
    """
    shapes = hashlib.sha256(repr([tuple(layer.get_base_weight().shape) for layer in layers.values()]).encode())
    values = hashlib.sha256()
    for layer in layers.values():
        flat = layer.original_weight().detach().flatten()
        places = torch.linspace(0, len(flat) - 1, min(len(flat), SAMPLED), dtype=torch.float64).long()
        some = flat[places.to(flat.device)].cpu().to(torch.bfloat16)
        values.update(some.view(torch.int16).numpy().tobytes())
    return f"{shapes.hexdigest()[:16]}-{values.hexdigest()[:16]}"


def check_fingerprint(expected: str | None, layers: Layers) -> None:
    """Compare the weights of a model with those that an adapter was trained over.

    Args:
        expected: of the adapter; None for one that was never saved.
        layers: of the model.

    Raises:
        BaseMismatchError: the layers have other shapes.
    """
    found = fingerprint(layers)
    if expected is None or expected == found:
        return
    if expected.partition("-")[0] != found.partition("-")[0]:
        shapes = {name: tuple(layer.get_base_weight().shape) for name, layer in layers.items()}
        raise BaseMismatchError(
            f"this adapter was trained over a model with other layers than {shapes}; load it into the model that its "
            "base_model_name_or_path names"
        )
    warnings.warn(
        "this adapter was trained over other weights of the same shapes, and its mask says nothing about these; load "
        "it into the model that it was trained over",
        SupermasksWarning,
        stacklevel=2,
    )
