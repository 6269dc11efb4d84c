"""The order of training examples."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from supermasks.seeding import generator


class Order:
    """Endless batches of indices: each example once an epoch, without gaps between epochs.

    Args:
        count: the number of examples.
        size: of a batch.
        random: shuffles the examples.

    Example:
        >>> order = Order(3, 2, generator(0, "data-order", "my task"))
        >>> sorted(torch.cat([order.next(), order.next(), order.next()]).tolist())
        [0, 0, 1, 1, 2, 2]
    """

    def __init__(self, count: int, size: int, random: np.random.Generator) -> None:
        self._count, self._size, self._random = count, size, random
        self._pending = np.empty(0, dtype=np.int64)

    @classmethod
    def of(cls, task: str, count: int, size: int, seed: int) -> "Order":
        """Return the order of the examples of a task, determined by its name, the sizes and the seed."""
        return cls(count, size, generator(seed, "data-order", task))

    def next(self) -> Tensor:
        """Return the indices of the next batch, `size`, int64."""
        while len(self._pending) < self._size:
            self._pending = np.concatenate([self._pending, self._random.permutation(self._count)])
        batch, self._pending = self._pending[: self._size], self._pending[self._size :]
        return torch.from_numpy(batch)

    def state(self) -> dict[str, Any]:
        """Return the position, for `restore`."""
        return {"random": self._random.bit_generator.state, "pending": torch.from_numpy(self._pending.copy())}

    def restore(self, state: dict[str, Any]) -> None:
        """Resume from a `state()`."""
        self._random.bit_generator.state = state["random"]
        self._pending = state["pending"].numpy()
