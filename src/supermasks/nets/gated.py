"""Networks whose outputs of layers are masked, not their weights (HopSupSup; SupSup, Section 3.5 and Appendix B.3)."""

from collections.abc import Sequence
from itertools import pairwise
from math import prod

import torch
from torch import Tensor, nn

from supermasks.errors import ConfigError
from supermasks.nets.checks import check_positive


class Gate(nn.Module):
    """Multiplies each feature by a weight, which is 1: masking this weight switches features on and off.

    Args:
        features: the number of features; inputs are `batch x features x ...`.

    Raises:
        ConfigError: the number is not a positive integer.

    Example:
        >>> gate = Gate(3)
        >>> gate(torch.tensor([[1.0, 2.0, 3.0]]))
        tensor([[1., 2., 3.]], grad_fn=<MulBackward0>)
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        check_positive(features=features)
        self.weight = nn.Parameter(torch.ones(features))

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs * self.weight.view(-1, *[1] * (inputs.dim() - 2))


def gates(module: nn.Module) -> list[str]:
    """Return the names of the weights of all gates, as `Network(module, base, select=gates(module))` takes them.

    Raises:
        ConfigError: the module has no gates.

    Example:
        >>> gates(gated_fully_connected([4, 3, 2]))
        ['3.weight']
    """
    found = [
        f"{path}.weight" if path else "weight" for path, layer in module.named_modules() if isinstance(layer, Gate)
    ]
    if not found:
        raise ConfigError("expected a network with gates, got one without; add Gate(features) after its normalisation")
    return found


def gated_fully_connected(widths: Sequence[int]) -> nn.Sequential:
    """Return `W3 s(m2 * BN(W2 s(m1 * BN(W1 x))))` for three layers (SupSup, Equation 8); it flattens its input.

    `m` are gates, `s` is Swish, and `BN` is batch normalisation without scales and shifts, and without running
    statistics: it always uses the statistics of the batch. So a network of it needs `norm="batch"`, and two or more
    inputs in each batch.

    Args:
        widths: the numbers of inputs, of neurons of each hidden layer, and of outputs.

    Returns:
        a module that maps `batch x ...` (`widths[0]` numbers each) to logits, `batch x widths[-1]`.

    Raises:
        ConfigError: there are fewer than three widths, or one is not positive.

    Example:
        >>> gated_fully_connected([4, 3, 2])(torch.randn(5, 4)).shape
        torch.Size([5, 2])
    """
    if len(widths) < 3 or min(widths) < 1:
        raise ConfigError(
            f"widths must be three or more positive integers, inputs first and outputs last, got {list(widths)}; only "
            "hidden layers have gates"
        )
    layers: list[nn.Module] = [nn.Flatten()]
    for inputs, neurons in pairwise(widths[:-1]):
        layers += [
            nn.Linear(inputs, neurons, bias=False),
            nn.BatchNorm1d(neurons, affine=False, track_running_stats=False),
            Gate(neurons),
            nn.SiLU(),
        ]
    return nn.Sequential(*layers, nn.Linear(widths[-2], widths[-1], bias=False))


def gated_2048_2048(outputs: int = 10, input_shape: Sequence[int] = (1, 28, 28)) -> nn.Sequential:
    """Return the network of HopSupSup (SupSup, Appendix B.3): two hidden layers of 2048 neurons with gates.

    Args:
        outputs: of the last layer; the paper uses one for each of the ten digits.
        input_shape: the shape of one input.
    """
    return gated_fully_connected([prod(input_shape), 2048, 2048, outputs])
