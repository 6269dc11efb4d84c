"""Streams such as PermutedMNIST: each task has its own fixed permutation of the pixels."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from supermasks.data.lazy import LazyStream, check_count
from supermasks.data.sources import ImageSource
from supermasks.seeding import generator
from supermasks.types import Examples, Task


@dataclass(frozen=True, eq=False)
class Permute:
    """A view that permutes the pixels: pixel `n` of the flattened result is pixel `order[n]` of the input.

    Attributes:
        order: `pixels`, int64, a permutation of `0..pixels - 1`.

    Example:
        >>> Permute(torch.tensor([2, 0, 1]))(torch.tensor([[10.0, 11.0, 12.0]])).tolist()
        [[12.0, 10.0, 11.0]]
    """

    order: Tensor

    def __call__(self, batch: Tensor) -> Tensor:
        """Return the batch (`batch x ...`) in the same shape with its pixels permuted."""
        return batch.flatten(1).index_select(1, self.order.to(batch.device)).reshape(batch.shape)


@dataclass(frozen=True, eq=False)
class PermutedStream(LazyStream):
    """`tasks` tasks, named `permuted-0000` and so on, each with its own random permutation of the pixels.

    Task `n` depends on the seed and on `n` alone, not on the number of tasks. Every task, the first one too, is
    permuted, has all classes of the source, and shares its tensors.

    Raises:
        ConfigError: `tasks` is not a positive integer, or the seed is not a non-negative integer.

    Example:
        >>> from supermasks.datasets import load_source
        >>> stream = PermutedStream(load_source("sample"), tasks=2500, seed=0)
        >>> len(stream), stream[-1].name
        (2500, 'permuted-2499')
    """

    source: ImageSource
    tasks: int
    seed: int = 0

    def __post_init__(self) -> None:
        check_count("the number of tasks", self.tasks)
        # Rejects an invalid seed now, not at the first task.
        generator(self.seed, "permutation")

    def __len__(self) -> int:
        return self.tasks

    def make(self, index: int) -> Task:
        """Make the task at `index`."""
        source = self.source
        pixels = math.prod(source.train_inputs.shape[1:])
        view = Permute(torch.as_tensor(generator(self.seed, "permutation", str(index)).permutation(pixels)))
        return Task(
            name=f"permuted-{index:04d}",
            classes=source.classes,
            train=Examples(source.train_inputs, source.train_targets, view),
            test=Examples(source.test_inputs, source.test_targets, view),
        )
