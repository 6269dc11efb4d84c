"""What unlabelled inputs say of a fine-tuned model: the outputs of its layers, and how much each of them matters."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from supermasks.compression.pair import Pair
from supermasks.errors import InputError
from supermasks.seeding import generator


@dataclass(frozen=True, eq=False)
class Observed:
    """A linear layer of the fine-tuned model on some inputs.

    Attributes:
        outputs: of the layer, `rows x out`.
        rows: the weight of each row: how strongly the model's output depends on it. It is 0 for padding.
        sensitivity: how strongly the model's output depends on each output of the layer, `out`.
        variance: of each input of the layer, `in`.
    """

    outputs: Tensor
    rows: Tensor
    sensitivity: Tensor
    variance: Tensor


@dataclass
class Recorder:
    """Keeps what goes in and out of a layer, and the gradient of its output."""

    inputs: list[Tensor] = field(default_factory=list[Tensor])
    outputs: list[Tensor] = field(default_factory=list[Tensor])

    def __call__(self, layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        del layer
        if not output.requires_grad:
            output.requires_grad_()
        output.retain_grad()
        self.inputs.append(inputs[0].detach())
        self.outputs.append(output)

    def observed(self) -> Observed | None:
        """Return what was seen; None if the layer was not called once, or nothing depends on it."""
        if len(self.outputs) != 1 or self.outputs[0].grad is None:
            return None
        squares = self.outputs[0].grad.flatten(0, -2).square()
        rows, entered = squares.sum(dim=1), self.inputs[0].flatten(0, -2)
        if not float(rows.sum()) > 0:
            return None
        share = (rows / rows.sum())[:, None]
        variance = (share * (entered - (share * entered).sum(dim=0)).square()).sum(dim=0)
        return Observed(self.outputs[0].detach().flatten(0, -2), rows, squares.sum(dim=0), variance)


def linear_layers(pair: Pair, module: nn.Module) -> dict[str, nn.Linear]:
    """Return the linear layers whose weights differ, by the name of the weight; tied weights are left out."""
    tied = {name for part in pair.network.parts if part.tied for name in (part.name, *part.tied)}
    layers = {f"{path}.weight" if path else "weight": layer for path, layer in module.named_modules()}
    return {
        name: layer
        for name, layer in layers.items()
        if type(layer) is nn.Linear and name in pair.matrices and name not in tied
    }


@torch.inference_mode(False)
@torch.enable_grad()  # pyright: ignore[reportUntypedFunctionDecorator]
def observe(pair: Pair, inputs: Tensor) -> tuple[dict[str, Observed], dict[str, float]]:
    """Run the fine-tuned model once, forwards and backwards, and return what its layers did.

    The backward pass starts from a random direction of the outputs. The mean square of a gradient then says how much
    the outputs change if the value changes.

    Returns:
        The linear layers, by the name of their weight; and the mean squared gradient of each other matrix.

    Raises:
        InputError: the model does not return one row of numbers for each input.
    """
    layers = linear_layers(pair, pair.tuned)
    recorders = {name: Recorder() for name in layers}
    for name, parameter in pair.tuned.named_parameters():
        parameter.requires_grad_(name in pair.matrices and name not in layers)
    handles = [layer.register_forward_hook(recorders[name]) for name, layer in layers.items()]
    try:
        output = pair.tuned(inputs)
        if not isinstance(output, Tensor) or len(output) != len(inputs) or not output.is_floating_point():
            raise InputError("the fine-tuned model must return a tensor with one row of numbers for each input")
        random = generator(0, "compression", "direction").standard_normal(output.shape, dtype=np.float32)
        if output.requires_grad:
            (output * torch.from_numpy(random)).sum().backward()
    finally:
        for handle in handles:
            handle.remove()
    found = {name: recorder.observed() for name, recorder in recorders.items()}
    others = {
        name: float(parameter.grad.square().mean())
        for name, parameter in pair.tuned.named_parameters()
        if parameter.requires_grad and parameter.grad is not None
    }
    pair.tuned.zero_grad()
    return {name: seen for name, seen in found.items() if seen is not None}, others


def importance(pair: Pair, seen: Mapping[str, Observed], others: Mapping[str, float]) -> dict[str, Tensor]:
    """Return how much the error of the model's output grows if an entry of a difference is lost, for each entry.

    For a linear layer this is `d_oi^2 * variance_i * sensitivity_o`: an error of the mean of an input does no harm,
    since the bias makes up for it. For another layer it is `d^2` times its mean squared gradient. Without observations
    it is `d^2`.
    """
    found: dict[str, Tensor] = {}
    for name, difference in pair.matrices.items():
        if name in seen:
            found[name] = difference.square() * seen[name].variance * seen[name].sensitivity[:, None]
        else:
            found[name] = difference.square() * (others.get(name, 0.0) if seen or others else 1.0)
    return found
