"""Random weights from a seed: storing them takes one number."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import prod, sqrt
from operator import index

import numpy as np
import torch
from torch import Tensor

from supermasks.bases.base import ComputedBase
from supermasks.errors import ConfigError
from supermasks.seeding import generator

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
    """Normal with standard deviation `sqrt(2 / fan_in)` (He et al. 2015)."""
    return rng.standard_normal(shape, dtype=np.float32) * np.float32(sqrt(2 / _fans(shape)[0]))


def kaiming_uniform(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Uniform in `+-sqrt(6 / fan_in)`, with standard deviation `sqrt(2 / fan_in)` (He et al. 2015)."""
    return _uniform(rng, shape, sqrt(6 / _fans(shape)[0]))


def xavier_normal(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Normal with standard deviation `sqrt(2 / (fan_in + fan_out))` (Glorot and Bengio 2010)."""
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
class RandomBase(ComputedBase):
    """Random weights, drawn for each parameter from the seed and the parameter's name.

    Masked parameters are drawn. Biases are 0, normalisation is the identity, and all else keeps its value.

    Attributes:
        seed: any non-negative integer.
        initialisation: the distribution, one of `INITIALISATIONS`.
        density: the fraction of the weights that masks will keep, if known. Weights are scaled by `1 / sqrt(density)`,
            so that sums over kept weights vary as much as sums over all (Ramanujan et al. 2020). Sparse masks need this
            in networks without normalisation: their outputs would be too small to learn from.
        zero_padding: whether the padding row of an embedding (`padding_idx`) is 0, as in torch. Banks of early versions
            used random rows.

    Raises:
        ConfigError: the seed, the initialisation or the density is invalid.

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
            raise ConfigError(f"the density of masks must be above 0 and at most 1, got {self.density}")
        if self.initialisation not in INITIALISATIONS:
            raise ConfigError(
                f"the initialisation must be one of {sorted(INITIALISATIONS)}, got {self.initialisation!r}"
            )
        generator(self.seed, "base")  # an invalid seed fails here, not at the first use
        object.__setattr__(self, "seed", index(self.seed))  # numpy integers have no JSON form

    def weights(self, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
        draw, scale = INITIALISATIONS[self.initialisation], np.float32(1 / sqrt(self.density))
        return {
            name: torch.from_numpy(draw(generator(self.seed, "base", name), shape) * scale)
            for name, shape in shapes.items()
        }
