"""A rotation: the task turns the inputs of a layer before the shared weight sees them."""

from collections.abc import Mapping
from functools import lru_cache
from typing import ClassVar

import torch
from torch import Tensor

from supermasks.changes.change import Change, Shape
from supermasks.errors import MaskError
from supermasks.seeding import generator

MOST_INPUTS = 2**13
"""A rotation of `n` inputs takes `4 n^2` bytes in memory: 256 MiB for this many."""


class Rotated(Change):
    """`E = W C`: a random rotation `C` of the inputs, which a seed determines (PSP; Cheung et al. 2019, Section 3.1).

    The layer computes `W (C x)`. In a convolution, `C` turns the input channels; in a
    transposed one, the output channels. A change takes 8 bytes.

    Args:
        seed: of the rotation, from 0 to 2^63 - 1.
        shape: of the parameter, with at least two dimensions; the second counts the inputs.

    Raises:
        MaskError: the seed is invalid, or the shape has one dimension or too many inputs.

    Example:
        >>> turned = Rotated(1, (1, 2)).applied(torch.tensor([[3.0, 4.0]]))
        >>> round(float(turned.norm()), 4)
        5.0
    """

    key: ClassVar[str] = "rotated"
    parts: ClassVar[tuple[str, ...]] = ("seed",)

    def __init__(self, seed: int, shape: Shape) -> None:
        if not 0 <= seed < 2**63:
            raise MaskError(f"expected a seed from 0 to 2^63 - 1 for a rotation, got {seed}")
        if len(shape) < 2 or shape[1] > MOST_INPUTS:
            raise MaskError(
                f"expected a parameter with two or more dimensions and at most {MOST_INPUTS} inputs for a rotation, "
                f"got shape {tuple(shape)}; leave this layer out with select=[...]"
            )
        self.seed, self._shape = seed, tuple(shape)

    @property
    def shape(self) -> Shape:
        return self._shape

    @property
    def nbytes(self) -> int:
        return 8

    def applied(self, weight: Tensor) -> Tensor:
        return rotated(weight, self.rotation(weight.device))

    def rotation(self, device: torch.device | None = None) -> Tensor:
        """Return `C`, `inputs x inputs`, float32."""
        return _rotation(self.seed, self._shape[1]).to(device)

    def tensors(self) -> dict[str, Tensor]:
        return {"seed": torch.tensor(self.seed, dtype=torch.int64)}

    @classmethod
    def restored(cls, tensors: Mapping[str, Tensor], shape: Shape | None) -> "Rotated":
        seed = tensors["seed"]
        if shape is None:
            raise MaskError("a head is not shared, so it cannot be rotated; restore the file from a copy")
        if seed.dtype != torch.int64 or seed.dim():
            raise MaskError(
                f"expected one int64 as the seed of a rotation, got {seed.dtype} of shape {tuple(seed.shape)}; restore "
                "the file from a copy"
            )
        return cls(int(seed), shape)


def rotated(weight: Tensor, rotation: Tensor) -> Tensor:
    """Return `W C`, differentiable in `W`.

    Args:
        weight: `out x in x ...`.
        rotation: `C`, `in x in`.
    """
    return (weight.movedim(1, -1) @ rotation).movedim(-1, 1)


@lru_cache(maxsize=16)
def _rotation(seed: int, size: int) -> Tensor:
    """Return a random orthogonal matrix, uniform among all (Stewart 1980), float32."""
    normal = torch.from_numpy(generator(seed, "rotation").standard_normal((size, size)))
    with torch.inference_mode(False):
        q, r = torch.linalg.qr(normal)
        return (q * r.diagonal().sign()).to(torch.float32)
