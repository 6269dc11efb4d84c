"""The inputs and outputs of the layers of a module in a forward pass."""

from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from supermasks.foreign_layers import is_conv1d

# Layers that are linear in their parameters and treat each input independently.
RECORDED = (
    *(nn.Linear, nn.Embedding, nn.Conv1d, nn.Conv2d, nn.Conv3d),
    *(nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d),
)
TRANSPOSED_FUNCTIONS: Mapping[type[nn.Module], Callable[..., Tensor]] = {
    nn.ConvTranspose1d: nn.functional.conv_transpose1d,
    nn.ConvTranspose2d: nn.functional.conv_transpose2d,
    nn.ConvTranspose3d: nn.functional.conv_transpose3d,
}


@dataclass(frozen=True, eq=False)
class Call:
    """One call of a layer.

    Attributes:
        layer: that was called.
        inputs: its argument.
        output: its result; gradients in it can be computed.
    """

    layer: nn.Module
    inputs: Tensor
    output: Tensor


@dataclass(eq=False)
class Calls:
    """The calls of a forward pass.

    Attributes:
        made: the calls, in order.
        plain: whether each call took one tensor and returned one.
    """

    made: list[Call] = field(default_factory=list[Call])
    plain: bool = True


def can_be_recorded(layer: nn.Module) -> bool:
    """Return whether the calls of a layer show all that its parameters do."""
    return type(layer) in RECORDED or is_conv1d(layer)


@contextmanager
def recording(layers: Iterable[nn.Module]) -> Generator[Calls]:
    """Record the calls of these layers; their outputs require gradients.

    Example:
        >>> layer = nn.Linear(2, 1)
        >>> with recording([layer]) as calls:
        ...     _ = layer(torch.ones(3, 2))
        >>> calls.made[0].inputs.shape, calls.plain
        (torch.Size([3, 2]), True)
    """
    calls = Calls()

    def record(layer: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        if len(args) != 1 or not isinstance(args[0], Tensor) or not isinstance(output, Tensor):
            calls.plain = False
            return output
        reached = output if output.requires_grad else output.detach().requires_grad_()
        calls.made.append(Call(layer, args[0].detach(), reached))
        return reached.clone()  # the next layer may change it in place

    handles = [layer.register_forward_hook(record) for layer in layers]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def called_with(layer: nn.Module, parameters: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
    """Return the output of a layer of a recorded type for these parameters; missing ones count as 0.

    The layer is not changed, so other threads may use it.
    """
    # Only its shape matters: another thread may have put the weights of a task there.
    own: Tensor = getattr(layer, "weight")  # noqa: B009 - typed
    weight = parameters["weight"] if "weight" in parameters else torch.zeros_like(own)
    if isinstance(layer, nn.Embedding):
        return nn.functional.embedding(inputs, weight, layer.padding_idx)
    if isinstance(layer, (nn.Conv1d, nn.Conv2d, nn.Conv3d)):
        # The layer's own function: it knows the padding.
        return layer._conv_forward(inputs, weight, parameters.get("bias"))  # pyright: ignore[reportPrivateUsage]
    bias = parameters.get("bias")
    if isinstance(layer, (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)):
        settings = (layer.stride, layer.padding, layer.output_padding, layer.groups, layer.dilation)
        return TRANSPOSED_FUNCTIONS[type(layer)](inputs, weight, bias, *settings)
    return nn.functional.linear(inputs, weight.mT if is_conv1d(layer) else weight, bias)


def derivative(call: Call, parameters: Mapping[str, Tensor], gradient: Tensor) -> Tensor:
    """Return the derivative of each input's own loss in a direction of the layer's parameters, `batch`.

    The layer is linear in its parameters, so its output moves by the layer applied to the direction. No gradient in the
    parameters is formed.

    Args:
        call: of the layer, with `batch x ...`.
        parameters: the direction, by the short names of the layer's parameters.
        gradient: of the losses in the output of the call, `batch x ...`.
    """
    return (called_with(call.layer, parameters, call.inputs) * gradient).flatten(1).sum(dim=1)


def is_linear(layer: nn.Module) -> bool:
    """Return whether the gradient covers all parameters of the layer; padding rows of embeddings get none."""
    return not isinstance(layer, nn.Embedding) or layer.padding_idx is None


def parameter_gradients(call: Call, parameters: dict[str, Tensor], gradient: Tensor) -> dict[str, Tensor]:
    """Return the gradient of each input's own loss in the parameters of a layer.

    Args:
        call: of the layer, with `batch x ...`.
        parameters: their values in the call, by short name.
        gradient: of the losses in the output of the call, `batch x ...`.

    Returns:
        `batch x shape` for each parameter.
    """
    layer = call.layer
    if type(layer) is nn.Linear:
        # Both `batch x places x features`.
        inputs, outputs = (each.reshape(len(each), -1, each.shape[-1]) for each in (call.inputs, gradient))
        each = {"weight": lambda: outputs.mT @ inputs, "bias": lambda: outputs.sum(dim=1)}
        return {name: each[name]() for name in parameters}

    def of_one(inputs: Tensor, gradient: Tensor) -> dict[str, Tensor]:
        def called(parameters: dict[str, Tensor]) -> Tensor:
            return called_with(layer, parameters, inputs[None])

        return torch.func.vjp(called, parameters)[1](gradient[None])[0]

    return torch.vmap(of_one)(call.inputs, gradient)
