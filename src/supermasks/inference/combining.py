"""How the gradients through single parameters become one piece of evidence."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

Combine = Callable[[Iterable[tuple[int, Tensor]]], Tensor]
"""Makes one gradient, `rows x tasks`, of those through each parameter; each comes with the size of its parameter."""


def summed(parts: Iterable[tuple[int, Tensor]]) -> Tensor:
    """Return the sum over the parameters: the gradient through all of them."""
    total: Tensor | None = None
    for _, gradient in parts:
        total = gradient if total is None else total + gradient
    assert total is not None, "expected the gradient of at least one parameter"
    return total


def standardised(parts: Iterable[tuple[int, Tensor]]) -> Tensor:
    """Return the sum over the parameters of `sqrt(size) (gradient - mean) / spread`.

    Mean and spread (the standard deviation) are over the tasks of each row. The gradient in `alpha_i` through a
    parameter is a sum over its weights. The part that recognises the task grows with the number of weights; the noise
    of the masks only with its square root. So a larger parameter counts more, whatever the scale of its gradient.

    Example:
        >>> standardised([(4, torch.tensor([[0.0, 2.0]])), (1, torch.tensor([[500.0, 100.0]]))])
        tensor([[-1.,  1.]])
    """
    return summed((size, size**0.5 * _standardised(gradient)) for size, gradient in parts)


def _standardised(gradient: Tensor) -> Tensor:
    centred = gradient - gradient.mean(dim=1, keepdim=True)
    spread = centred.square().mean(dim=1, keepdim=True).sqrt()
    # If all tasks are equal, their evidence is equal too; it is 0 only if the gradient is.
    return torch.where(spread == 0, gradient.sign(), centred / spread)
