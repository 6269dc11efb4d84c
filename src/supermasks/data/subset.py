"""Some of the examples, or all in another order; only rows and targets are copied."""

import numpy as np
import torch
from numpy.typing import NDArray

from supermasks.types import Examples


def subset(examples: Examples, chosen: NDArray[np.integer]) -> Examples:
    """Return the examples at the indices `chosen`, in their order in `examples`, with the same inputs and view.

    Example:
        >>> examples = Examples(torch.zeros(4, 3), torch.tensor([0, 1, 2, 3]))
        >>> subset(examples, np.array([3, 1])).targets.tolist()
        [1, 3]
    """
    return reordered(examples, np.sort(chosen))


def reordered(examples: Examples, chosen: NDArray[np.integer]) -> Examples:
    """Return the examples at the indices `chosen`, in this order, with the same inputs and view.

    Example:
        >>> examples = Examples(torch.zeros(4, 3), torch.tensor([0, 1, 2, 3]))
        >>> reordered(examples, np.array([3, 1])).targets.tolist()
        [3, 1]
    """
    indices = torch.from_numpy(chosen.astype(np.int64)).to(examples.targets.device)
    rows = indices if examples.rows is None else examples.rows[indices.to(examples.rows.device)]
    return Examples(examples.inputs, examples.targets[indices], examples.view, rows)
