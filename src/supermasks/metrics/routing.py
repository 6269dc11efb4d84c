"""A baseline for task inference that uses no mask and no network at all."""

from collections.abc import Sequence

import torch
from torch import Tensor

from supermasks.errors import InputError
from supermasks.types import Examples


class MeanInputRouter:
    """Sends an input to the task whose mean training input is nearest, in Euclidean distance.

    On permuted images this alone finds nearly every task, so it is reported beside each number of task inference.

    Args:
        means: one mean input a task, all of the same shape.

    Example:
        >>> router = MeanInputRouter([torch.tensor([0.0, 0.0]), torch.tensor([1.0, 1.0])])
        >>> router.route(torch.tensor([[0.9, 0.8], [0.1, 0.0]]))
        tensor([1, 0])
    """

    def __init__(self, means: Sequence[Tensor]) -> None:
        self._means = torch.stack([mean.flatten() for mean in means])

    def route(self, inputs: Tensor) -> Tensor:
        """Return the index of the task of each input.

        Args:
            inputs: `batch x ...`.

        Returns:
            `batch`, int64.

        Raises:
            InputError: inputs and means differ in size.
        """
        flat = inputs.flatten(1)
        if flat.shape[1] != self._means.shape[1]:
            raise InputError(
                f"inputs must have {self._means.shape[1]} entries each, as the means have, got {flat.shape[1]}"
            )
        return torch.cdist(flat, self._means).argmin(dim=1)


def mean_input(examples: Examples, chunk: int = 1000) -> Tensor:
    """Return the mean of all inputs as the task sees them, in the shape of one input."""
    total = sum(
        (inputs.sum(dim=0) for inputs, _ in examples.batches(chunk)), torch.zeros(examples.shape, dtype=torch.float32)
    )
    return total / len(examples)
