"""The base class of changes: what a task does to one shared parameter."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Literal, Protocol

import torch
from torch import Tensor

from supermasks.errors import MaskError
from supermasks.types import Shape, Shapes


class Index(Protocol):
    """Looks up a few weights in the changes of many tasks."""

    @property
    def nbytes(self) -> int:
        """Its memory in bytes, without the changes themselves."""
        ...

    def products(self, places: Tensor, gradient: Tensor) -> Tensor:
        """Return `sum_t gradient[t] E_i[places[t]]` for each of `k` changes, `k`, float32.

        Args:
            places: `t`, int64, the flat indices of some entries of the parameter.
            gradient: `t`, float32, the gradient in these entries.
        """
        ...


class Change(ABC):
    """How a task makes its own value `E_i` of a parameter from the shared value `W`. Changes are immutable.

    A subclass defines `applied`, and how it is stored. Mixtures and gradients follow from `applied`; a subclass may
    compute them faster. A bank finds the class by its `key`, once its module is imported.

    Attributes:
        key: the name of this kind of change in the file of a task; unique.
        parts: the names of the tensors that a change is stored as; a single tensor may have the name "".
        item: where its bytes are counted: "masks", or "dense" for numbers.
    """

    key: ClassVar[str]
    parts: ClassVar[tuple[str, ...]]
    item: ClassVar[Literal["masks", "dense"]] = "dense"

    @property
    @abstractmethod
    def shape(self) -> Shape:
        """The shape of the parameter."""

    @property
    @abstractmethod
    def nbytes(self) -> int:
        """Its memory in bytes."""

    @abstractmethod
    def applied(self, weight: Tensor) -> Tensor:
        """Return the task's own value `E_i` of the parameter, as a new tensor.

        Args:
            weight: the shared value `W`; 0 for a head, which tasks do not share.
        """

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """Return one tensor for each name in `parts`; `restored` makes the same change of them, bit for bit."""

    @classmethod
    @abstractmethod
    def restored(cls, tensors: Mapping[str, Tensor], shape: Shape | None) -> "Change":
        """Return the change that `tensors` stored.

        Args:
            tensors: one for each name in `parts`.
            shape: of the parameter; None for a head.

        Raises:
            MaskError: the tensors do not fit this kind of change, or the shape.
        """

    def used(self) -> Tensor:
        """Return which entries of the shared weight `E_i` depends on, boolean; by default all."""
        return torch.ones(self.shape, dtype=torch.bool)

    @classmethod
    def mix(cls, weight: Tensor, changes: Sequence[Any], alpha: Sequence[float]) -> Tensor:
        """Return `sum_i alpha_i E_i`, as a new tensor.

        Args:
            weight: the shared value `W`.
            changes: `k` of this class.
            alpha: `k` coefficients, none of them 0.
        """
        total = torch.zeros_like(weight)
        for change, coefficient in zip(changes, alpha, strict=True):
            total.add_(change.applied(weight), alpha=coefficient)
        return total

    @classmethod
    def products(cls, weight: Tensor, gradients: Tensor, changes: Sequence[Any]) -> Tensor:
        """Return `<dL_b/dE, E_i>` for all gradients and changes, `rows x k`.

        Args:
            weight: the shared value `W`.
            gradients: `dL_b/dE`, `rows x ...`, each row in the shape of the parameter.
            changes: `k` of this class.
        """
        flat = gradients.flatten(1)
        columns = [flat @ change.applied(weight).flatten() for change in changes]
        return torch.stack(columns, dim=1) if columns else flat.new_zeros(len(flat), 0)

    @classmethod
    def listed(cls, weight: Tensor, gradient: Tensor, changes: Sequence[Any]) -> Tensor:
        """Return `<dL/dE, E_i>` for a single gradient and a few changes, `k`."""
        return cls.products(weight, gradient[None], changes)[0]

    @classmethod
    def index(cls, weight: Tensor, changes: Sequence[Any]) -> Index:
        """Return an index of these changes."""
        return Applied(weight, changes)

    @classmethod
    def encode(cls, changes: Mapping[str, Any], before: Mapping[str, Any]) -> tuple[dict[str, Tensor], bool]:
        """Return changes of several parameters as tensors, and whether `before` is needed to read them.

        Args:
            changes: by the name of their parameter.
            before: the changes of the task before; the new ones may be coded relative to these.
        """
        del before
        stored = {name: change.tensors() for name, change in changes.items()}
        named = (
            (f"{name}/{part}" if part else name, value) for name, of in stored.items() for part, value in of.items()
        )
        return {path: value.contiguous() for path, value in named}, False

    @classmethod
    def decode(
        cls, tensors: Mapping[str, Tensor], shapes: Shapes, rest: Shapes, before: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Return the changes that `encode` stored.

        Args:
            tensors: as `encode` returned them.
            shapes: the shape of each shared parameter.
            rest: if `parts` is empty, so that tensors do not name their parameters: the shapes of the parameters with
                changes of this class.
            before: the changes of the task before.

        Raises:
            MaskError: the tensors do not fit this kind of change, or the shapes.
        """
        del before
        stored: dict[str, dict[str, Tensor]] = {name: {} for name in rest} if not cls.parts else {}
        for path, value in tensors.items():
            name, _, part = (path, "", "") if cls.parts == ("",) else path.rpartition("/")
            stored.setdefault(name, {})[part] = value
        for name, of in stored.items():
            if of.keys() != {*cls.parts}:
                raise MaskError(
                    f"expected the tensors {cls.parts} for a change of {name!r}, got {sorted(of)}; restore the file "
                    "from a copy"
                )
        return {name: cls.restored(of, shapes.get(name)) for name, of in stored.items()}


class Applied:
    """An index for any kind of change: it computes the whole parameter for each task."""

    nbytes = 0

    def __init__(self, weight: Tensor, changes: Sequence[Change]) -> None:
        self._weight, self._changes = weight, changes

    def products(self, places: Tensor, gradient: Tensor) -> Tensor:
        rows = (change.applied(self._weight).flatten()[places] @ gradient for change in self._changes)
        return torch.stack([*rows]).cpu()


def change_kinds() -> dict[str, type[Change]]:
    """Return the classes of changes by key: this library's, and your own once their module is imported.

    Raises:
        MaskError: two classes have the same key.
    """
    found: dict[str, type[Change]] = {}
    for kind in _descendants(Change):
        key = getattr(kind, "key", None)
        if key is None:
            continue
        other = found.setdefault(key, kind)
        if (other.__module__, other.__qualname__) != (kind.__module__, kind.__qualname__):
            raise MaskError(
                f"{other.__module__}.{other.__qualname__} and {kind.__module__}.{kind.__qualname__} both have the key "
                f"{key!r}, by which files find their class; give one of them another key"
            )
        found[key] = kind  # the last definition counts, as in a notebook
    return found


def by_kind(changes: Iterable[tuple[Any, Change]]) -> dict[type[Change], list[tuple[Any, Any]]]:
    """Return changes grouped by class; each keeps the value that it came with."""
    groups: dict[type[Change], list[tuple[Any, Any]]] = {}
    for of, change in changes:
        groups.setdefault(type(change), []).append((of, change))
    return groups


def _descendants(kind: type[Change]) -> Iterable[type[Change]]:
    for below in kind.__subclasses__():
        yield below
        yield from _descendants(below)
