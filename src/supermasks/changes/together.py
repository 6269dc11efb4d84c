"""The base class of changes of which a task's are stored as one."""

from collections.abc import Mapping
from typing import ClassVar, Literal

from torch import Tensor

from supermasks.changes.change import Change, Shape


class StoredTogether(Change):
    """A change that is stored with those of all other parameters of its task, as masks are.

    A subclass defines `encode` and `decode`, which see all of them. A single change has no tensors of its own.
    """

    parts: ClassVar[tuple[str, ...]] = ()
    item: ClassVar[Literal["masks", "dense"]] = "masks"

    def tensors(self) -> dict[str, Tensor]:
        return {}

    @classmethod
    def restored(cls, tensors: Mapping[str, Tensor], shape: Shape | None) -> "StoredTogether":
        raise NotImplementedError(f"{cls.__name__} changes of all parameters are stored as one; use decode")
