"""What unlabelled inputs say of a fine-tuned model: the outputs of its layers, and how much each of them matters."""

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from supermasks.compression.pair import Pair
from supermasks.errors import ConfigError, InputError
from supermasks.own_copy import own_copy
from supermasks.seeding import generator

LEAST_SLOPE = 0.01
"""A part of the mean gradient of a parameter, added to that of each entry: the inputs may not reach all of them."""


@dataclass(frozen=True, eq=False)
class Observed:
    """A linear layer of the fine-tuned model on some inputs.

    Attributes:
        outputs: of the layer, `rows x out`.
        rows: the weight of each row: how strongly the model's output depends on it. It is 0 for padding.
        sensitivity: how strongly the model's output depends on each output of the layer, `out`.
    """

    outputs: Tensor
    rows: Tensor
    sensitivity: Tensor


@dataclass
class Recorder:
    """Keeps the outputs of a layer, and so their gradients."""

    outputs: list[Tensor] = field(default_factory=list[Tensor])

    def __call__(self, layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        del layer, inputs
        if not output.requires_grad:
            output.requires_grad_()
        output.retain_grad()
        self.outputs.append(output)
        return output.clone()  # the model may change it in place, as nn.ReLU(inplace=True) does

    def observed(self) -> Observed | None:
        """Return what was seen; None if the layer was not called once with rows, or nothing depends on it."""
        if len(self.outputs) != 1 or self.outputs[0].grad is None or self.outputs[0].dim() < 2:
            return None
        squares = self.outputs[0].grad.flatten(0, -2).square()
        rows = squares.sum(dim=1)
        if not float(rows.sum()) > 0:
            return None
        return Observed(self.outputs[0].detach().flatten(0, -2), rows, squares.sum(dim=0))


def linear_layers(pair: Pair, module: nn.Module) -> dict[str, nn.Linear]:
    """Return the linear layers whose weights differ, by the name of the weight; tied ones are left out."""
    tied = {name for part in pair.network.parts if part.tied for name in (part.name, *part.tied)}
    layers = {f"{path}.weight" if path else "weight": layer for path, layer in module.named_modules()}
    return {
        name: layer
        for name, layer in layers.items()
        if type(layer) is nn.Linear and name in pair.matrices and not tied & {name, _bias_of(name)}
    }


def _bias_of(weight: str) -> str:
    return f"{weight.removesuffix('weight')}bias"


@torch.inference_mode(False)
@torch.enable_grad()  # pyright: ignore[reportUntypedFunctionDecorator]
def observe(pair: Pair, inputs: Tensor) -> dict[str, Observed]:
    """Run the fine-tuned model once, forwards and backwards, and return what its linear layers did.

    The backward pass starts from a random direction of the outputs. The mean square of a gradient then says how much
    the outputs change if the value changes.

    Returns:
        What each layer did, by the name of its weight. Layers that are not called exactly once are left out.

    Raises:
        InputError: the model does not return one row of finite numbers for each input.
    """
    recorders = {name: Recorder() for name in linear_layers(pair, pair.tuned)}
    pair.tuned.requires_grad_(False)
    handles = [layer.register_forward_hook(recorders[name]) for name, layer in linear_layers(pair, pair.tuned).items()]
    try:
        output = pair.tuned(inputs.clone())
        if not isinstance(output, Tensor) or len(output) != len(inputs) or not output.is_floating_point():
            raise InputError("the fine-tuned model must return a tensor with one row of numbers for each input")
        if not bool(output.isfinite().all()):
            raise InputError("the fine-tuned model answers some inputs with NaN or infinity; leave these inputs out")
        random = generator(0, "compression", "direction").standard_normal(output.shape, dtype=np.float32)
        if output.requires_grad:
            (output * torch.from_numpy(random)).sum().backward()
    finally:
        for handle in handles:
            handle.remove()
    found = {name: recorder.observed() for name, recorder in recorders.items()}
    return {name: seen for name, seen in found.items() if seen is not None}


@torch.inference_mode(False)
@torch.enable_grad()  # pyright: ignore[reportUntypedFunctionDecorator]
def importance(pair: Pair, inputs: Tensor | None) -> dict[str, Tensor]:
    """Return how much it matters that a difference is kept, for each entry of the matrices; equal ones differ slightly.

    This is `d^2 |g|`: `d` is the difference, and `g` the gradient of the squared error of the outputs, half-way between
    the base and the fine-tuned model. It lies between `|d|^2`, which knows nothing of the inputs, and `|g d|^2`, the
    first-order effect, which trusts the gradient alone. Without inputs it is `d^2`.

    Args:
        pair: the base and the fine-tuned model.
        inputs: `batch x ...`, without labels; None for none.

    Raises:
        InputError: the gradients are not finite.
        ConfigError: there are no gradients.
    """
    squares = {name: _untied(difference.square(), name) for name, difference in pair.matrices.items()}
    if inputs is None or not squares:
        return squares
    between = own_copy(pair.tuned).requires_grad_(False)
    values = dict(between.named_parameters(remove_duplicate=False))
    for name, difference in {**pair.matrices, **pair.vectors}.items():
        values[name].sub_(difference / 2)
        values[name].requires_grad_(name in squares)
    with torch.no_grad():
        wanted = pair.tuned(inputs.clone())
    loss = (between(inputs.clone()) - wanted).square().sum()
    if not loss.requires_grad:
        raise ConfigError(
            "expected outputs with a gradient for the weights that differ, got none; let no torch.no_grad() be in the "
            "model's forward, or pass calibrate=False"
        )
    loss.backward()
    found: dict[str, Tensor] = {}
    for name, square in squares.items():
        gradient = values[name].grad
        slope = torch.zeros_like(square) if gradient is None else gradient.abs()
        if not bool(slope.isfinite().all()):
            raise InputError(f"the gradients of {name!r} are too large for float32; leave out inputs with huge values")
        found[name] = square * (slope + LEAST_SLOPE * slope.mean())
    return found


def _untied(squares: Tensor, name: str) -> Tensor:
    """Return values with a random part of at most 1/8192 added, since differences in bfloat16 are often the same."""
    random = generator(0, "compression", "ties", name).random(squares.shape, dtype=np.float32)
    return squares * (1 + torch.from_numpy(random) / 8192)
