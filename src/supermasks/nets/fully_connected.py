"""The fully connected networks without biases that both papers use on MNIST."""

from collections.abc import Sequence
from itertools import pairwise
from math import prod

from torch import nn

from supermasks.errors import ConfigError


def fully_connected(widths: Sequence[int]) -> nn.Sequential:
    """Return a network of linear layers without biases, with ReLU in between; it flattens its input.

    Args:
        widths: the numbers of inputs, of neurons of each hidden layer, and of outputs.

    Returns:
        a module that maps `batch x ...` (`widths[0]` numbers each) to logits, `batch x widths[-1]`.

    Raises:
        ConfigError: there are fewer than two widths, or one is not positive.

    Example:
        >>> [tuple(p.shape) for p in fully_connected([4, 3, 2]).parameters()]
        [(3, 4), (2, 3)]
    """
    if len(widths) < 2 or min(widths) < 1:
        raise ConfigError(
            f"widths must be two or more positive integers, inputs first and outputs last, got {list(widths)}"
        )
    layers: list[nn.Module] = [nn.Flatten()]
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs, bias=False), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def lenet_300_100(outputs: int = 100, input_shape: Sequence[int] = (1, 28, 28)) -> nn.Sequential:
    """Return LeNet 300-100 (SupSup, Section 4.2): two hidden layers of 300 and 100 neurons.

    Args:
        outputs: real and superfluous neurons of the last layer together (Section 3.6).
        input_shape: the shape of one input.

    Example:
        >>> import torch
        >>> lenet_300_100(10)(torch.zeros(2, 1, 28, 28)).shape
        torch.Size([2, 10])
    """
    return fully_connected([prod(input_shape), 300, 100, outputs])


def fc_1024_1024(outputs: int = 500, input_shape: Sequence[int] = (1, 28, 28)) -> nn.Sequential:
    """Return FC 1024-1024 (SupSup, Section 4.2): two hidden layers of 1024 neurons.

    Args:
        outputs: real and superfluous neurons of the last layer together (Section 3.6).
        input_shape: the shape of one input.
    """
    return fully_connected([prod(input_shape), 1024, 1024, outputs])
