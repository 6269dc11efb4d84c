"""The base class of changes: what a task does to one shared parameter."""

from abc import ABC, abstractmethod
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, Literal, Protocol

import torch
from torch import Tensor

from supermasks.discovery import is_ours
from supermasks.errors import MaskError, UnknownKindError
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
        key: the name of this kind of change in the file of a task, without "/". Each class needs a key of its own, also
            a subclass of another kind of change.
        parts: the names of the tensors that a change is stored as, without "/"; a single tensor may have the name "".
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
        flat = gradients.reshape(len(gradients), -1)
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

    A key that several classes have is left out.
    """
    found = {key: kinds_with(key) for key in map(_own_key, _descendants(Change)) if key is not None}
    return {key: kinds[0] for key, kinds in found.items() if len(kinds) == 1}


def kinds_with(key: str) -> list[type[Change]]:
    """Return the classes of changes that have a key, not counting subclasses that inherit it.

    A key of this library has only its own class. If a class was defined several times, as in a notebook, the last
    definition counts.
    """
    found = {full_name(kind): kind for kind in _descendants(Change) if _own_key(kind) == key}
    return [kind for kind in found.values() if is_ours(kind)] or [*found.values()]


def kind_of(key: str) -> type[Change]:
    """Return the class of the changes that files store under a key.

    Raises:
        UnknownKindError: no class has the key, or several have.
    """
    kinds = kinds_with(key)
    if not kinds:
        raise UnknownKindError(
            f"it has changes of the unknown kind {key!r}; if it is your own, import its module first; otherwise use "
            "the version that wrote it, or a later one"
        )
    if len(kinds) > 1:
        raise UnknownKindError(
            f"it has changes of the kind {key!r}, but {' and '.join(map(full_name, kinds))} both have this key, by "
            "which files find their class; give the one that did not write the file another key"
        )
    return kinds[0]


def full_name(kind: type[Change]) -> str:
    """Return the name of a class with its module."""
    return f"{kind.__module__}.{kind.__qualname__}"


@contextmanager
def reading(kind: type[Change]) -> Generator[None]:
    """Turn any error of a user's own class inside the context into one that does not call the file damaged.

    Raises:
        UnknownKindError: the class failed; it has the error as its cause.
    """
    try:
        yield
    except Exception as error:
        if is_ours(kind):
            raise
        raise UnknownKindError(
            f"your class {full_name(kind)} failed to read its changes: {type(error).__name__}: {error}; the file may "
            "be sound, so mend the class first"
        ) from error


def by_kind(changes: Iterable[tuple[Any, Change]]) -> dict[type[Change], list[tuple[Any, Any]]]:
    """Return changes grouped by class; each keeps the value that it came with."""
    groups: dict[type[Change], list[tuple[Any, Any]]] = {}
    for of, change in changes:
        groups.setdefault(type(change), []).append((of, change))
    return groups


def _own_key(kind: type[Change]) -> str | None:
    """Return the key of a class; None if it has none, or only that of the changes that it is a subclass of."""
    key = getattr(kind, "key", None)
    return None if key in [getattr(base, "key", None) for base in kind.__bases__ if issubclass(base, Change)] else key


def _descendants(kind: type[Change]) -> Iterable[type[Change]]:
    for below in kind.__subclasses__():
        yield below
        yield from _descendants(below)
