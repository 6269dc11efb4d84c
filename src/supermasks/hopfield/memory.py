"""The masks of all tasks in one matrix for each masked parameter, and their mean."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import reduce
from math import prod
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from supermasks.brief import expect, listed
from supermasks.errors import BankFormatError, ConfigError, MaskError
from supermasks.hopfield.file import Form, read_tensors, write_tensors
from supermasks.hopfield.rule import HopfieldRule
from supermasks.hopfield.storkey import Storkey
from supermasks.masks import Mask
from supermasks.network import Network
from supermasks.spec import build, describe

LARGEST = 2**14
"""The most entries of a masked parameter: its matrix then takes 1 GiB."""


@dataclass(frozen=True, eq=False)
class HopfieldMemory:
    """Masks as the minima of an energy, in a number of bytes that does not depend on how many there are (HopSupSup).

    For each masked parameter of `d` entries the memory holds a matrix `Psi` and the mean `mu` of the strings
    `z = 2 m - 1`. A further mask changes both (SupSup, Section 3.5 and Appendix B). `HopfieldRecovery` of
    `supermasks.inference` finds a mask in it.

    **What it does not hold.** It has no list of masks, and no names or classes of tasks. So all tasks must share their
    classes, with one output for each label. It has no statistics of batch normalisation either, so the network must use
    those of the batch (`norm="batch"`). A mask cannot be taken out again.

    **Its size.** A matrix takes `4 d^2` bytes, and a mask `d / 8`. So a plain list of masks is smaller for up to `32 d`
    tasks; for 2048 entries these are 65,536. Only some hundreds of random masks can be stored without errors.

    Attributes:
        rule: how a mask is stored.
        matrices: `Psi` of each masked parameter, `d x d`, float32.
        means: `mu` of each masked parameter, `d`, float32.
        shapes: of each masked parameter.
        count: how many masks were stored.
        fingerprint: of the network whose masks these are.

    Example:
        >>> from supermasks.bases import RandomBase
        >>> from supermasks.nets import gated_fully_connected, gates
        >>> module = gated_fully_connected([4, 3, 2])
        >>> network = Network(module, RandomBase(0), select=gates(module), norm="batch")
        >>> memory = HopfieldMemory.empty(network)
        >>> mask = Mask.pack({"3.weight": torch.tensor([True, False, True])})
        >>> memory.plus(mask).means["3.weight"], memory.plus(mask).nbytes == memory.nbytes
        (tensor([ 1., -1.,  1.]), True)
    """

    rule: HopfieldRule
    matrices: Mapping[str, Tensor]
    means: Mapping[str, Tensor]
    shapes: Mapping[str, tuple[int, ...]]
    count: int
    fingerprint: str

    @classmethod
    def empty(cls, network: Network, rule: HopfieldRule | None = None) -> "HopfieldMemory":
        """Return a memory without masks.

        Args:
            network: whose masks it will hold.
            rule: how a mask is stored; None for Storkey's.

        Raises:
            ConfigError: a masked parameter is too large for a matrix, or this is no network.
        """
        rule = Storkey() if rule is None else rule
        expect(network, Network, "network")
        expect(rule, HopfieldRule, "rule")
        for name, shape in network.shapes.items():
            if prod(shape) > LARGEST:
                raise ConfigError(
                    f"a Hopfield memory needs masked parameters of at most {LARGEST:,} entries, got {prod(shape):,} in "
                    f"{name!r}, whose matrix would take {4 * prod(shape) ** 2:,} bytes; mask outputs of layers instead "
                    "of weights, with supermasks.nets.Gate"
                )
        sizes = {name: prod(shape) for name, shape in network.shapes.items()}
        return cls(
            rule,
            MappingProxyType({name: torch.zeros(size, size, dtype=torch.float32) for name, size in sizes.items()}),
            MappingProxyType({name: torch.zeros(size, dtype=torch.float32) for name, size in sizes.items()}),
            MappingProxyType(network.shapes),
            0,
            network.fingerprint,
        )

    def __len__(self) -> int:
        return self.count

    def __repr__(self) -> str:
        return f"HopfieldMemory({self.count} masks by {self.rule}, {self.nbytes:,} bytes)"

    @property
    def nbytes(self) -> int:
        """The bytes of all matrices and means."""
        return sum(value.nbytes for values in (self.matrices, self.means) for value in values.values())

    def plus(self, *masks: Mask) -> "HopfieldMemory":
        """Return this memory with further masks, stored in this order; this one stays as it is.

        Raises:
            MaskError: a mask has other parameters.
        """
        return reduce(HopfieldMemory._plus, masks, self)

    def _plus(self, mask: Mask) -> "HopfieldMemory":
        strings, count = self.strings(mask), self.count + 1
        matrices = {name: self.rule.stored(matrix, strings[name]) for name, matrix in self.matrices.items()}
        means = {name: mean + (strings[name] - mean) / count for name, mean in self.means.items()}
        return replace(self, matrices=MappingProxyType(matrices), means=MappingProxyType(means), count=count)

    def strings(self, mask: Mask) -> dict[str, Tensor]:
        """Return a mask as strings, `z = 2 m - 1`, of `d` entries for each parameter.

        Raises:
            ConfigError: this is no mask.
            MaskError: the mask has other parameters.
        """
        expect(mask, Mask, "mask")
        if mask.shapes != dict(self.shapes):
            raise MaskError(f"expected a mask over parameters of {dict(self.shapes)}, got one over {mask.shapes}")
        return {name: 2 * mask[name].flatten().float() - 1 for name in self.shapes}

    def mask(self, strings: Mapping[str, Tensor]) -> Mask:
        """Return the mask of strings of any real numbers, `m = [z > 0]`.

        Raises:
            MaskError: the strings are not of these parameters, or have a NaN.
        """
        self._check_strings(strings)
        return Mask.pack({name: (strings[name] > 0).cpu().view(shape) for name, shape in self.shapes.items()})

    def energy(self, strings: Mapping[str, Tensor]) -> Tensor:
        """Return the energy `E(z) = -sum z^T Psi z`, summed over the parameters; differentiable in `z`.

        The paper prints it without the minus. With the paper's update rules, stored strings would then be maxima.

        Args:
            strings: `d` real numbers for each parameter.

        Raises:
            MaskError: the strings are not of these parameters, or have a NaN.
        """
        self._check_strings(strings)
        terms = [-(z @ (self.matrices[name].to(z.device) @ z)) for name, z in strings.items()]
        return torch.stack(terms).sum()

    def _check_strings(self, strings: Mapping[str, Tensor]) -> None:
        expected = {name: (len(mean),) for name, mean in self.means.items()}
        given = {name: tuple(value.shape) for name, value in strings.items()}
        if given != expected:
            raise MaskError(f"expected strings of the shapes {expected}, got {given}")
        if wrong := [name for name, value in strings.items() if bool(value.isnan().any())]:
            raise MaskError(f"expected strings of real numbers, got NaN in that of {listed(wrong)}")

    def unstable(self, mask: Mask) -> int:
        """Return how many entries of a mask one step of the network would change: those with `z_u (Psi z)_u <= 0`.

        A mask with none is a fixed point: the memory holds it without an error.

        Raises:
            MaskError: the mask has other parameters.
        """
        strings = self.strings(mask)
        return sum(int((z * (self.matrices[name] @ z) <= 0).sum()) for name, z in strings.items())

    def save(self, path: str | Path) -> None:
        """Write the memory into a safetensors file, whole or not at all; its size does not depend on the tasks.

        Raises:
            StorageError: the file cannot be written.
        """
        tensors = {
            **{f"matrix/{name}": value for name, value in self.matrices.items()},
            **{f"mean/{name}": value for name, value in self.means.items()},
            "count": torch.tensor(self.count, dtype=torch.int64),
        }
        write_tensors(path, tensors, {**self._identity(), "rule": describe(self.rule)})

    @classmethod
    def load(cls, path: str | Path, network: Network) -> "HopfieldMemory":
        """Return the memory that `save` wrote.

        Args:
            path: of the file.
            network: whose masks it holds.

        Raises:
            BankFormatError: the file is missing, damaged, or not such a memory.
            BaseMismatchError: it holds masks of another network.
            StorageError: it cannot be read.
        """
        empty = cls.empty(network)
        forms: dict[str, Form] = {"count": (torch.int64, ())}
        for name, mean in empty.means.items():
            forms |= {f"matrix/{name}": (mean.dtype, (len(mean),) * 2), f"mean/{name}": (mean.dtype, (len(mean),))}
        tensors, about = read_tensors(path, forms, empty._identity())
        try:
            rule = build(about.get("rule"), HopfieldRule)
        except ConfigError as error:
            raise BankFormatError(f"the rule of the memory {path} cannot be read: {error}") from error
        matrices, means = ({n: tensors[f"{kind}/{n}"] for n in empty.shapes} for kind in ("matrix", "mean"))
        return replace(
            empty,
            rule=rule,
            matrices=MappingProxyType(matrices),
            means=MappingProxyType(means),
            count=int(tensors["count"]),
        )

    def _identity(self) -> dict[str, Any]:
        """Return what must be the same in a file and in the network that it is loaded for."""
        shapes = {name: list(shape) for name, shape in self.shapes.items()}
        return {"shapes": shapes, "fingerprint": self.fingerprint}
