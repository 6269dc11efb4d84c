"""No change: the task uses the shared weight as it is."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from torch import Tensor

from supermasks.changes.change import Change, Shape
from supermasks.errors import MaskError


class Unchanged(Change):
    """`E = W`, for methods that train the shared weights themselves. It takes no bytes.

    Args:
        shape: of the parameter.

    Example:
        >>> import torch
        >>> Unchanged((2,)).applied(torch.ones(2))
        tensor([1., 1.])
    """

    key: ClassVar[str] = "unchanged"
    parts: ClassVar[tuple[str, ...]] = ()

    def __init__(self, shape: Shape) -> None:
        self._shape = tuple(shape)

    @property
    def shape(self) -> Shape:
        return self._shape

    @property
    def nbytes(self) -> int:
        return 0

    def applied(self, weight: Tensor) -> Tensor:
        return weight.clone()

    @classmethod
    def mix(cls, weight: Tensor, changes: Sequence["Unchanged"], alpha: Sequence[float]) -> Tensor:
        return weight * sum(alpha)

    @classmethod
    def products(cls, weight: Tensor, gradients: Tensor, changes: Sequence["Unchanged"]) -> Tensor:
        one = gradients.reshape(len(gradients), -1) @ weight.flatten()
        return one[:, None].expand(-1, len(changes))

    def tensors(self) -> dict[str, Tensor]:
        return {}

    @classmethod
    def restored(cls, tensors: Mapping[str, Tensor], shape: Shape | None) -> "Unchanged":
        if shape is None:
            raise MaskError("a head is not shared, so it cannot be unchanged; restore the file from a copy")
        return cls(shape)
