"""A replacement: the task has its own value, as for a head or a fine-tuned layer."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from supermasks.changes.change import Change, Shape
from supermasks.errors import MaskError


class Replaced(Change):
    """`E = V`, whatever the shared weight.

    Args:
        value: `V`, copied; in the shape of the parameter, or in any shape for a head. Its type, such as float16, is
            that of its storage; the parameter keeps its own.

    Example:
        >>> Replaced(torch.ones(2)).applied(torch.zeros(2))
        tensor([1., 1.])
    """

    key: ClassVar[str] = "dense"
    parts: ClassVar[tuple[str, ...]] = ("",)

    def __init__(self, value: Tensor) -> None:
        self._value = value.detach().cpu().clone()

    @property
    def value(self) -> Tensor:
        """A copy of the value."""
        return self._value.clone()

    @property
    def shape(self) -> Shape:
        return tuple(self._value.shape)

    @property
    def nbytes(self) -> int:
        return self._value.numel() * self._value.element_size()

    def used(self) -> Tensor:
        return torch.zeros(self.shape, dtype=torch.bool)

    def applied(self, weight: Tensor) -> Tensor:
        return self._value.to(weight.device, weight.dtype, copy=True)

    @classmethod
    def mix(cls, weight: Tensor, changes: Sequence["Replaced"], alpha: Sequence[float]) -> Tensor:
        total = torch.zeros_like(weight)
        for change, coefficient in zip(changes, alpha, strict=True):
            total.add_(change._value.to(weight.device), alpha=coefficient)
        return total

    @classmethod
    def products(cls, weight: Tensor, gradients: Tensor, changes: Sequence["Replaced"]) -> Tensor:
        flat = gradients.reshape(len(gradients), -1)
        columns = [(flat * change._value.to(flat.device).flatten()).sum(dim=1) for change in changes]
        return torch.stack(columns, dim=1) if columns else flat.new_zeros(len(flat), 0)

    def tensors(self) -> dict[str, Tensor]:
        return {"": self._value}

    @classmethod
    def restored(cls, tensors: Mapping[str, Tensor], shape: Shape | None) -> "Replaced":
        if shape is not None and tuple(tensors[""].shape) != shape:
            raise MaskError(
                f"expected a value of shape {shape}, got {tuple(tensors[''].shape)}; restore the file from a copy"
            )
        return cls(tensors[""])
