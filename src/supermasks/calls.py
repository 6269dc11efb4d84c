"""What the layers of a module are called with, and what they return, in a forward pass."""

from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

# Layers whose gradient in their parameters is a sum over inputs, of what each input alone gives.
RECORDED = (
    nn.Linear,
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
    nn.Embedding,
)


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
            return torch.func.functional_call(layer, parameters, (inputs[None],))

        return torch.func.vjp(called, parameters)[1](gradient[None])[0]

    return torch.vmap(of_one)(call.inputs, gradient)
