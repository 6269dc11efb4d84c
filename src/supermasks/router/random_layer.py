"""A random layer of ReLU neurons, whose values are features from -127 to 127."""

from collections.abc import Callable
from math import sqrt

import numpy as np
import torch
from torch import Tensor

from supermasks.moments import LEVELS


def random_layer(
    random: np.random.Generator, inputs: int, count: int, highest: float, device: torch.device
) -> Callable[[Tensor], Tensor]:
    """Return `z -> relu(z V + b)`, scaled so that 0 becomes -127 and `highest` becomes 127.

    Args:
        random: draws `V` (normal, variance 1 / inputs) and then `b` (uniform from -0.5 to 0.5).
        inputs: values in each row of `z`, which is `batch x inputs`.
        count: of the neurons.
        highest: a neuron above this value counts as this value.
        device: of `z`.
    """
    drawn = random.standard_normal((inputs, count), dtype="float32") / sqrt(inputs)
    weights = torch.from_numpy(drawn).to(device)
    bias = torch.from_numpy(random.uniform(-0.5, 0.5, count).astype("float32")).to(device)

    def features(values: Tensor) -> Tensor:
        return (torch.relu(values @ weights + bias) - highest / 2) * (2 * LEVELS / highest)

    return features
