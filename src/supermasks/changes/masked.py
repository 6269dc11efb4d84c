"""A mask: the task keeps some of the shared weights, and sets the others to 0."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from math import prod
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from supermasks.changes.change import Index, Shape, Shapes
from supermasks.changes.together import StoredTogether
from supermasks.masks import BitIndex, Mask, decode_mask, encode_mask, is_relative, listed_products, mask_products
from supermasks.masks.products import PackedBits
from supermasks.masks.rows import are_compiled, masked_weight

COUNTED_AT_ONCE = 32  # masks; at most 255, so that their count fits into a byte
CODE = ""


class Masked(StoredTogether):
    """`E = W * M`: keep the weights that a mask selects (SupSup, Equation 1).

    Args:
        mask: of the task, over all parameters that it masks; not copied.
        name: of the parameter in the mask.

    Attributes:
        address: where the packed bits begin in memory.

    Example:
        >>> mask = Mask.pack({"weight": torch.tensor([[True, False]])})
        >>> Masked(mask, "weight").applied(torch.tensor([[3.0, 4.0]]))
        tensor([[3., 0.]])
    """

    key: ClassVar[str] = "mask"

    def __init__(self, mask: Mask, name: str) -> None:
        self.mask, self.name = mask, name
        self.address = mask.address(name)  # of thousands of tasks, to look it up takes longer than some products

    @cached_property
    def bits(self) -> PackedBits:
        """The packed bits, looked up once: for thousands of tasks that takes longer than some products."""
        return self.mask.bits(self.name)

    def __reduce__(self) -> tuple[Any, ...]:
        return Masked, (self.mask, self.name)

    @classmethod
    def of(cls, mask: Mask) -> dict[str, "Masked"]:
        """Return the change of each parameter in a mask, by its name."""
        return {name: Masked(mask, name) for name in mask}

    @property
    def shape(self) -> Shape:
        return self.mask.shape(self.name)

    @property
    def nbytes(self) -> int:
        return -(-prod(self.shape) // 8)

    def used(self) -> Tensor:
        return self.mask[self.name]

    def applied(self, weight: Tensor) -> Tensor:
        if are_compiled() and not torch.is_grad_enabled() and type(weight) is Tensor:
            return masked_weight(weight, self.bits)
        # As bytes of 0 and 1: this skips a conversion, and the fixed cost of a product with bools.
        return weight * self.mask[self.name].view(torch.uint8).to(weight.device)

    @classmethod
    def mix(cls, weight: Tensor, changes: Sequence["Masked"], alpha: Sequence[float]) -> Tensor:
        if len(set(alpha)) > 1:
            total = torch.zeros_like(weight)
            for change, coefficient in zip(changes, alpha, strict=True):
                total.add_(change.mask[change.name].view(torch.uint8).to(weight.device), alpha=coefficient)
            return total.mul_(weight)
        # With equal coefficients, masks are counted: many tasks at once, in bytes.
        counts = np.zeros(weight.numel(), dtype=np.int32)
        for first in range(0, len(changes), COUNTED_AT_ONCE):
            some = np.stack([change.bits for change in changes[first : first + COUNTED_AT_ONCE]])
            bits = np.unpackbits(some, axis=1, count=weight.numel(), bitorder="little")
            counts += np.add.reduce(bits, axis=0, dtype=np.uint8)
        mixed = torch.from_numpy(counts).to(weight.device, torch.float32)
        return mixed.mul_(alpha[0] if alpha else 0.0).view(weight.shape).mul_(weight)

    @classmethod
    def products(cls, weight: Tensor, gradients: Tensor, changes: Sequence["Masked"]) -> Tensor:
        return mask_products(
            gradients.reshape(len(gradients), -1) * weight.flatten(), [change.bits for change in changes]
        )

    @classmethod
    def listed(cls, weight: Tensor, gradient: Tensor, changes: Sequence["Masked"]) -> Tensor:
        return listed_products(gradient.flatten() * weight.flatten(), [change.bits for change in changes])

    @classmethod
    def index(cls, weight: Tensor, changes: Sequence["Masked"]) -> Index:
        return _MaskIndex(weight, changes)

    @classmethod
    def encode(cls, changes: Mapping[str, "Masked"], before: Mapping[str, "Masked"]) -> tuple[dict[str, Tensor], bool]:
        mask, reference = as_mask(changes), as_mask(before)
        code = encode_mask(mask, reference if reference.shapes == mask.shapes else None)
        return {CODE: code}, is_relative(code)

    @classmethod
    def decode(
        cls, tensors: Mapping[str, Tensor], shapes: Shapes, rest: Shapes, before: Mapping[str, "Masked"]
    ) -> dict[str, Any]:
        return cls.of(decode_mask(tensors[CODE], rest, as_mask(before) if before else None))


def as_mask(changes: Mapping[str, Masked]) -> Mask:
    """Return the masks of several parameters as one mask, in the order of the changes."""
    of = {id(change.mask): change.mask for change in changes.values()}
    names = list(changes)
    if len(of) == 1 and all(name == change.name for name, change in changes.items()):
        (mask,) = of.values()
        return mask if list(mask) == names else mask.ordered(names)
    return Mask.pack({name: change.used() for name, change in changes.items()})


class _MaskIndex:
    def __init__(self, weight: Tensor, changes: Sequence[Masked]) -> None:
        self._weight = weight.flatten()
        self._bits = BitIndex([change.bits for change in changes], weight.numel())

    @property
    def nbytes(self) -> int:
        return self._bits.nbytes

    def products(self, places: Tensor, gradient: Tensor) -> Tensor:
        return self._bits.products(places.cpu(), (gradient * self._weight[places]).cpu())
