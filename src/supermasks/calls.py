"""What the layers of a module are called with, and what they return, in a forward pass."""

from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from supermasks.foreign_layers import is_conv1d

# Layers that are linear in their parameters, and treat each input by itself.
RECORDED = (
    *(nn.Linear, nn.Embedding, nn.Conv1d, nn.Conv2d, nn.Conv3d),
    *(nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d),
)
TRANSPOSED: Mapping[type[nn.Module], Callable[..., Tensor]] = {
    nn.ConvTranspose1d: nn.functional.conv_transpose1d,
    nn.ConvTranspose2d: nn.functional.conv_transpose2d,
    nn.ConvTranspose3d: nn.functional.conv_transpose3d,
}


@dataclass(frozen=True, eq=False)
class Call:
    """One call of a layer.

    Attributes:
        layer: that was called.
        inputs: what with.
        output: what it returned, at which the gradient can be asked for.
    """

    layer: nn.Module
    inputs: Tensor
    output: Tensor


@dataclass(eq=False)
class Calls:
    """The calls of a forward pass.

    Attributes:
        made: in their order.
        plain: whether each was made with one tensor, and returned one.
    """

    made: list[Call] = field(default_factory=list[Call])
    plain: bool = True


def can_be_recorded(layer: nn.Module) -> bool:
    """Return whether a layer is of a type whose calls say all of what its parameters do."""
    return type(layer) in RECORDED or is_conv1d(layer)


@contextmanager
def recording(layers: Iterable[nn.Module]) -> Generator[Calls]:
    """Record the calls of these layers; their outputs then take part in a backward pass."""
    calls = Calls()

    def record(layer: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        if len(args) != 1 or not isinstance(args[0], Tensor) or not isinstance(output, Tensor):
            calls.plain = False
            return output
        reached = output if output.requires_grad else output.detach().requires_grad_()
        calls.made.append(Call(layer, args[0].detach(), reached))
        return reached.clone()  # a layer behind it may change it in place

    handles = [layer.register_forward_hook(record) for layer in layers]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def applied(layer: nn.Module, parameters: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
    """Return what a layer of a recorded type gives with these parameters; those that are left out count as 0.

    The layer itself is not changed, so that it can be in use elsewhere.
    """
    # Whatever is in its place: another thread may have put the weights of a task there.
    own: Tensor = getattr(layer, "weight")  # noqa: B009 - typed
    weight = parameters["weight"] if "weight" in parameters else torch.zeros_like(own)
    if isinstance(layer, nn.Embedding):
        return nn.functional.embedding(inputs, weight, layer.padding_idx)
    if isinstance(layer, (nn.Conv1d, nn.Conv2d, nn.Conv3d)):
        # What these layers call themselves: it knows how they pad.
        return layer._conv_forward(inputs, weight, parameters.get("bias"))  # pyright: ignore[reportPrivateUsage]
    bias = parameters.get("bias")
    if isinstance(layer, (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)):
        of = (layer.stride, layer.padding, layer.output_padding, layer.groups, layer.dilation)
        return TRANSPOSED[type(layer)](inputs, weight, bias, *of)
    return nn.functional.linear(inputs, weight.mT if is_conv1d(layer) else weight, bias)


def derivative(call: Call, parameters: Mapping[str, Tensor], gradient: Tensor) -> Tensor:
    """Return the derivative of each input's own loss when the parameters of a layer move in a direction, `batch`.

    The layer is linear in its parameters, so that its output moves by what it gives with the direction in their place,
    and no gradient in the parameters is ever formed.

    Args:
        call: of the layer, with `batch x ...`.
        parameters: the direction, by the short names of the layer's parameters.
        gradient: in the output of the call, `batch x ...`.
    """
    return (applied(call.layer, parameters, call.inputs) * gradient).flatten(1).sum(dim=1)


def is_linear(layer: nn.Module) -> bool:
    """Return whether the gradient in the layer's parameters is that of what it computes: padding rows have none."""
    return not isinstance(layer, nn.Embedding) or layer.padding_idx is None


def parameter_gradients(call: Call, parameters: dict[str, Tensor], gradient: Tensor) -> dict[str, Tensor]:
    """Return the gradient of each input's own loss in the parameters of a layer.

    Args:
        call: of the layer, with `batch x ...`.
        parameters: those of the layer that are wanted, by their short name, as it was called with.
        gradient: in the output of the call, `batch x ...`.

    Returns:
        `batch x ...` for each parameter, with its shape.
    """
    layer = call.layer
    if type(layer) is nn.Linear:
        # Both `batch x places x features`.
        inputs, outputs = (each.reshape(len(each), -1, each.shape[-1]) for each in (call.inputs, gradient))
        each = {"weight": lambda: outputs.mT @ inputs, "bias": lambda: outputs.sum(dim=1)}
        return {name: each[name]() for name in parameters}

    def of_one(inputs: Tensor, gradient: Tensor) -> dict[str, Tensor]:
        def called(parameters: dict[str, Tensor]) -> Tensor:
            return applied(layer, parameters, inputs[None])

        return torch.func.vjp(called, parameters)[1](gradient[None])[0]

    return torch.vmap(of_one)(call.inputs, gradient)
