"""Random weights out of a seed: what a network costs to store is one number."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import prod, sqrt
from operator import index

import numpy as np
import torch
from torch import Tensor

from supermasks.bases.base import Recipe
from supermasks.errors import ConfigError
from supermasks.seeding import stream

Floats = np.ndarray[tuple[int, ...], np.dtype[np.float32]]
Initialisation = Callable[[np.random.Generator, tuple[int, ...]], Floats]


def _fans(shape: tuple[int, ...]) -> tuple[int, int]:
    kernel = prod(shape[2:])
    return shape[1] * kernel, shape[0] * kernel


def signed_kaiming_constant(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """`+-c` with equal probability, `c = sqrt(2 / fan_in)` (SupSup, Section 3.1)."""
    constant = np.float32(sqrt(2 / _fans(shape)[0]))
    entries = prod(shape)
    bits = np.unpackbits(np.frombuffer(rng.bytes(-(-entries // 8)), np.uint8), count=entries)
    return np.where(bits, constant, -constant).astype(np.float32).reshape(shape)


def kaiming_normal(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Normal of standard deviation `sqrt(2 / fan_in)` (He et al. 2015)."""
    return rng.standard_normal(shape, dtype=np.float32) * np.float32(sqrt(2 / _fans(shape)[0]))


def kaiming_uniform(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Uniform of standard deviation `sqrt(2 / fan_in)`, in `+-sqrt(6 / fan_in)` (He et al. 2015)."""
    return _uniform(rng, shape, sqrt(6 / _fans(shape)[0]))


def xavier_normal(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Normal of standard deviation `sqrt(2 / (fan_in + fan_out))` (Glorot and Bengio 2010)."""
    return rng.standard_normal(shape, dtype=np.float32) * np.float32(sqrt(2 / sum(_fans(shape))))


def xavier_uniform(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Uniform in `+-sqrt(6 / (fan_in + fan_out))` (Glorot and Bengio 2010)."""
    return _uniform(rng, shape, sqrt(6 / sum(_fans(shape))))


def _uniform(rng: np.random.Generator, shape: tuple[int, ...], bound: float) -> Floats:
    return (2 * rng.random(shape, dtype=np.float32) - 1) * np.float32(bound)


INITIALISATIONS: Mapping[str, Initialisation] = {
    function.__name__: function
    for function in (signed_kaiming_constant, kaiming_normal, kaiming_uniform, xavier_normal, xavier_uniform)
}


@dataclass(frozen=True)
class RandomBase(Recipe):
    """Random weights; each parameter has a stream of its own, named by the seed and by the parameter.

    Masked parameters are drawn, biases are 0, normalisation is plain; whatever else there is keeps its value.

    Attributes:
        seed: any non-negative integer.
        initialisation: the distribution, one of `INITIALISATIONS`.
        density: the fraction of the weights that masks will keep, if it is known. All weights are `1 / sqrt(density)`
            times as large, so that the sums over those that are kept vary as much as over all (Ramanujan et al. 2020).
            Sparse masks need it in networks without normalisation, whose outputs are too small to learn from otherwise.
        zero_padding: whether the row of an embedding that stands for padding (`padding_idx`) is 0, as torch has it.
            Banks of early versions were learned over random rows.

    Raises:
        ConfigError: there is no such initialisation, or the density is not above 0 and at most 1.

    Example:
        >>> RandomBase(seed=0).weights({"weight": (3, 8)})["weight"].abs().unique()
        tensor([0.5000])
    """

    seed: int
    initialisation: str = "signed_kaiming_constant"
    density: float = 1.0
    zero_padding: bool = field(default=True, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.density <= 1:
            raise ConfigError(f"the density of masks is above 0 and at most 1, but {self.density} came")
        if self.initialisation not in INITIALISATIONS:
            raise ConfigError(
                f"there is no initialisation {self.initialisation!r}; choose one of {sorted(INITIALISATIONS)}"
            )
        stream(self.seed, "base")  # a wrong seed fails here, not at the first use
        object.__setattr__(self, "seed", index(self.seed))  # a number of numpy has no JSON form

    def weights(self, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
        draw, scale = INITIALISATIONS[self.initialisation], np.float32(1 / sqrt(self.density))
        return {
            name: torch.from_numpy(draw(stream(self.seed, "base", name), shape) * scale)
            for name, shape in shapes.items()
        }
