"""The mask of one task: immutable, one bit a weight, with the algebra of sets."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from math import log2, prod

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from supermasks.errors import MaskError
from supermasks.masks.drawn import Drawn
from supermasks.masks.packing import count_bits, pack_bits, unpack_bits


class Mask:
    """The set of weights that a task keeps: packed bits for each parameter, by name.

    Masks over the same parameters combine like sets: `a & b`, `a | b`, `a - b`.

    Example:
        >>> a = Mask.pack({"weight": torch.tensor([[True, True], [False, False]])})
        >>> b = Mask.pack({"weight": torch.tensor([[True, False], [True, False]])})
        >>> (a & b).count(), (a | b).count(), (a - b).count(), a.density()
        (1, 3, 1, 0.5)
    """

    def __init__(
        self, packed: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]], drawn: Drawn | None = None
    ) -> None:
        """Copy packed bits, as `pack_bits` returns them.

        Args:
            packed: `ceil(entries / 8)` bytes for each parameter, uint8.
            shapes: the shape of each parameter.
            drawn: where the scores of the mask began, if that is known.

        Raises:
            MaskError: names differ, a length does not fit its shape, or a bit after the last entry is set.
        """
        if list(packed) != list(shapes):
            raise MaskError(f"expected bits and shapes of the same parameters, got {list(packed)} and {list(shapes)}")
        for name, shape in shapes.items():
            entries, bits = prod(shape), packed[name]
            if bits.dtype != torch.uint8 or tuple(bits.shape) != (-(-entries // 8),):
                raise MaskError(
                    f"expected {-(-entries // 8)} packed bytes (uint8) for parameter {name!r} of shape {shape}, "
                    f"got shape {tuple(bits.shape)} of {bits.dtype}"
                )
            if entries % 8 and int(bits[-1]) >> (entries % 8):
                raise MaskError(
                    f"the packed mask of {name!r} has bits set after its {entries} entries; the data are damaged"
                )
        self._packed = {name: bits.clone() for name, bits in packed.items()}
        self._shapes = {name: tuple(shape) for name, shape in shapes.items()}
        self._drawn = drawn

    @classmethod
    def pack(cls, entries: Mapping[str, Tensor], drawn: Drawn | None = None) -> "Mask":
        """Return the mask of boolean tensors, one for each parameter.

        Args:
            entries: the tensors, by the name of the parameter.
            drawn: where the scores of the mask began, if that is known; `encode_mask` then takes fewer bytes.

        Raises:
            MaskError: a tensor is not boolean.
        """
        if not isinstance(entries, Mapping):
            raise MaskError(f"expected a dictionary of boolean tensors by name, got a {type(entries).__name__}")
        return cls(
            {name: pack_bits(value) for name, value in entries.items()},
            {name: tuple(value.shape) for name, value in entries.items()},
            drawn,
        )

    @classmethod
    def union(cls, masks: Iterable["Mask"], shapes: Mapping[str, tuple[int, ...]]) -> "Mask":
        """Return the weights that at least one of the masks keeps.

        Args:
            masks: each over some or all of the parameters.
            shapes: the shape of each parameter.

        Raises:
            MaskError: a mask has an unknown parameter, or one of another shape.
        """
        packed = {name: torch.zeros(-(-prod(shape) // 8), dtype=torch.uint8) for name, shape in shapes.items()}
        for mask in masks:
            for name, bits in mask._packed.items():
                if shapes.get(name) != mask._shapes[name]:
                    raise MaskError(f"expected a mask over parameters of {dict(shapes)}, got one over {mask.shapes}")
                packed[name] |= bits
        return cls(packed, shapes)

    @property
    def drawn(self) -> Drawn | None:
        """Where the scores of the mask began, if that is known. Masks are equal without it."""
        return self._drawn

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each parameter."""
        return dict(self._shapes)

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of one parameter."""
        return self._shapes[name]

    @property
    def packed(self) -> dict[str, Tensor]:
        """The packed bits of each parameter: copies, `ceil(entries / 8)` bytes each."""
        return {name: bits.clone() for name, bits in self._packed.items()}

    def bits(self, name: str) -> npt.NDArray[np.uint8]:
        """Return a read-only view of the packed bits of one parameter, `ceil(entries / 8)` bytes."""
        view = self._packed[name].numpy().view()
        view.flags.writeable = False
        return view

    def address(self, name: str) -> int:
        """Return where the packed bits of one parameter begin in memory."""
        return self._packed[name].data_ptr()

    def __iter__(self) -> Iterator[str]:
        return iter(self._shapes)

    def __getitem__(self, name: str) -> Tensor:
        """Return the entries of one parameter, boolean, in its shape.

        Raises:
            MaskError: the mask has no such parameter.
        """
        if name not in self._shapes:
            raise MaskError(f"the mask has no parameter {name!r}; it has {list(self._shapes)}")
        shape = self._shapes[name]
        return unpack_bits(self._packed[name], prod(shape)).view(shape)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Mask):
            return NotImplemented
        return self._shapes == other._shapes and all(torch.equal(b, other._packed[n]) for n, b in self._packed.items())

    __hash__ = None  # pyright: ignore[reportAssignmentType]  # compared by value; not a key

    def __repr__(self) -> str:
        return f"Mask({self.count()} of {self.size()} weights in {len(self._shapes)} parameters)"

    def __and__(self, other: "Mask") -> "Mask":
        return self._combine(other, torch.bitwise_and)

    def __or__(self, other: "Mask") -> "Mask":
        return self._combine(other, torch.bitwise_or)

    def __sub__(self, other: "Mask") -> "Mask":
        return self._combine(other, lambda a, b: a & ~b)

    def _combine(self, other: "Mask", operation: Callable[[Tensor, Tensor], Tensor]) -> "Mask":
        if not isinstance(other, Mask):
            raise MaskError(f"expected another Mask, got a {type(other).__name__}")
        if self._shapes != other._shapes:
            raise MaskError(f"expected two masks over the same parameters, got {self._shapes} and {other._shapes}")
        return Mask({n: operation(b, other._packed[n]) for n, b in self._packed.items()}, self._shapes)

    def ordered(self, names: Iterable[str]) -> "Mask":
        """Return this mask with its parameters in the order of these names; unknown names are ignored."""
        own = [name for name in names if name in self._shapes]
        shapes = {name: self._shapes[name] for name in own}
        return Mask({name: self._packed[name] for name in own}, shapes, self._drawn)

    def size(self) -> int:
        """Return the number of entries, kept or not."""
        return sum(prod(shape) for shape in self._shapes.values())

    def count(self) -> int:
        """Return the number of weights kept."""
        return sum(count_bits(bits) for bits in self._packed.values())

    def counts(self) -> dict[str, int]:
        """Return the number of weights kept in each parameter."""
        return {name: count_bits(bits) for name, bits in self._packed.items()}

    def density(self) -> float:
        """Return the fraction of weights kept, `count() / size()`."""
        return self.count() / self.size() if self.size() else 0.0

    def overlap(self, other: "Mask") -> float:
        """Return the fraction of this mask's weights that `other` keeps too, `|a & b| / |a|` (0 for an empty mask).

        Raises:
            MaskError: the masks have different parameters.
        """
        shared, kept = (self & other).count(), self.count()
        return shared / kept if kept else 0.0

    def nbytes(self) -> int:
        """Return the size of the packed bits in bytes."""
        return sum(len(bits) for bits in self._packed.values())

    def entropy_bytes(self) -> float:
        """Return the bytes of an ideal code that knows only the density of each parameter: `sum_l n_l h(p_l) / 8`.

        `h(p) = -p log2 p - (1 - p) log2 (1 - p)` is the entropy, in bits, of an entry of density `p`.
        """
        total = 0.0
        for name, kept in self.counts().items():
            entries = prod(self._shapes[name])
            if 0 < kept < entries:
                p = kept / entries
                total -= entries * (p * log2(p) + (1 - p) * log2(1 - p)) / 8
        return total
