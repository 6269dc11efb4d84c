"""How many weights each layer keeps."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from math import inf, prod

from supermasks.errors import DensityError
from supermasks.spec import Settings
from supermasks.types import Shapes


class Budget(Settings, ABC):
    """Gives each layer its density, the fraction of its weights that a mask keeps."""

    @abstractmethod
    def densities(self, shapes: Shapes) -> dict[str, float]:
        """Return the density of each parameter, in (0, 1].

        Args:
            shapes: the shape of each parameter, `out x in` or `out x in x kernel ...`.

        Raises:
            DensityError: the density of a layer is not in (0, 1], or it would keep no weights.
        """


@dataclass(frozen=True)
class Uniform(Budget):
    """The same density in every layer (ExSSNeT, Section 3.1).

    Example:
        >>> Uniform(0.1).densities({"weight": (10, 20)})
        {'weight': 0.1}
    """

    density: float

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_density("a layer", self.density)

    def densities(self, shapes: Shapes) -> dict[str, float]:
        return _checked(dict.fromkeys(shapes, self.density), shapes)


@dataclass(frozen=True)
class ER(Budget):
    """Erdos-Renyi: layers keep weights in proportion to their neurons (SupSup's layer-wise budget, Section 4.1).

    `density_l = min(cap, scale * (out + in) / (out * in * kernel))`, with `kernel` the product of the kernel's sizes.

    Attributes:
        scale: weights kept for each input and output neuron.
        cap: the largest density of a layer. With 1 there is no cap: a density above 1 is an error.

    Example:
        >>> ER(scale=1).densities({"weight": (10, 40)})
        {'weight': 0.125}
    """

    scale: float
    cap: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.cap <= 1:
            raise DensityError(f"the cap of an ER budget must be above 0 and at most 1, got {self.cap}")
        if not 0 < self.scale < inf:
            raise DensityError(f"the scale of an ER budget must be a positive number, got {self.scale}")

    def densities(self, shapes: Shapes) -> dict[str, float]:
        raw = {name: self.scale * sum(shape[:2]) / prod(shape) for name, shape in shapes.items()}
        return _checked(
            raw if self.cap == 1 else {name: min(self.cap, density) for name, density in raw.items()}, shapes
        )


@dataclass(frozen=True)
class ERK(Budget):
    """Erdos-Renyi-Kernel: `density_l` proportional to `(out + in + sum of kernel sizes) / (out * in * kernel)`.

    The factor makes the whole network keep `density` of its weights. A layer whose density would exceed 1 is kept
    whole, and the other layers share the rest (Evci et al. 2020, "RigL").

    Example:
        >>> {name: round(d, 4) for name, d in ERK(0.1).densities({"a": (10, 10), "b": (100, 100)}).items()}
        {'a': 0.9182, 'b': 0.0918}
    """

    density: float

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_density("the network", self.density)

    def densities(self, shapes: Shapes) -> dict[str, float]:
        sizes = {name: prod(shape) for name, shape in shapes.items()}
        raw = {name: sum(shape) / prod(shape) for name, shape in shapes.items()}
        dense: set[str] = set()
        while True:
            wanted = self.density * sum(sizes.values()) - sum(sizes[name] for name in dense)
            factor = (
                wanted / sum(raw[name] * sizes[name] for name in shapes if name not in dense)
                if len(dense) < len(raw)
                else 0.0
            )
            exceeding = {name for name in shapes if name not in dense and raw[name] * factor > 1}
            if not exceeding:
                break
            dense |= exceeding
        return _checked({name: 1.0 if name in dense else raw[name] * factor for name in shapes}, shapes)


def _check_density(where: str, density: float) -> None:
    if not 0 < density <= 1:
        raise DensityError(
            f"the density of {where} (the fraction of weights kept) must be above 0 and at most 1, got {density:g}; "
            "change the budget"
        )


def _checked(densities: dict[str, float], shapes: Shapes) -> dict[str, float]:
    for name, density in densities.items():
        _check_density(f"layer {name!r}", density)
        if round(density * prod(shapes[name])) == 0:
            raise DensityError(
                f"each layer must keep at least one weight, but at density {density:g} layer {name!r} of shape "
                f"{shapes[name]} keeps none; choose a larger budget"
            )
    return densities
