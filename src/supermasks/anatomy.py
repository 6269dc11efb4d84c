"""What a module is made of: which parameters are masked, and what becomes of all the others."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from math import prod
from typing import Literal

from torch import Tensor, nn

from supermasks.errors import ConfigError, UnsupportedModuleError

Select = Sequence[str | type[nn.Module]]
"""What to mask: patterns of names, exact names, or types of layers."""

Value = Literal["base", "zero", "one", "own"]
"""Where a value comes from over random weights: drawn by the base, 0, 1, or the module's own."""

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
MASKABLE = (nn.Linear, *CONVOLUTIONS, nn.Embedding, nn.EmbeddingBag, nn.MultiheadAttention)
BATCH_NORM = nn.modules.batchnorm._BatchNorm  # pyright: ignore[reportPrivateUsage]
INSTANCE_NORM = (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)
NORMALISATION = (BATCH_NORM, *INSTANCE_NORM, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


@dataclass(frozen=True)
class Part:
    """One parameter or buffer of a module.

    Attributes:
        name: of the parameter, as in `module.named_parameters()`.
        shape: of its tensor.
        layer: the type of the layer that it belongs to.
        role: "masked", "dense" (the same for all tasks), "head" (each task has its own), or "buffer" (a task may
            change it, as batch normalisation does its statistics).
        value: where it comes from when the base is random.
        tied: other names of the same tensor.
    """

    name: str
    shape: tuple[int, ...]
    layer: str
    role: Literal["masked", "dense", "head", "buffer"]
    value: Value
    tied: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """The number of entries."""
        return prod(self.shape)


def dissect(module: nn.Module, select: Select | None = None, head: str | None = None) -> tuple[Part, ...]:
    """Return the parameters of a module, each tensor once, and its buffers, in the order of the module.

    By default the weights of linear, convolutional and embedding layers, and the projections of attention, are
    masked. Everything else stays dense: over random weights, biases are 0 and scales and shifts of normalisation
    1 and 0 (SupSup, Section 3.1), weights of those kinds that are not selected are random too, and what belongs to a
    layer of another kind keeps the module's own value.

    Args:
        module: to look at; not changed.
        select: what is masked instead. A pattern with `*`, `?` or `[` chooses among the weights that are masked
            by default; an exact name chooses that parameter whatever its layer; a type chooses the parameters of two or
            more dimensions of all layers of that type.
        head: the name of a linear layer of which each task is to have its own, dense.

    Raises:
        UnsupportedModuleError: a parameter has no shape yet, belongs to a recurrent layer that is to be masked, or to
            an embedding that changes it when it is looked up; or nothing is masked although there is no head.
        ConfigError: a selection matches nothing, or the head is no linear layer.
    """
    layers = dict(module.named_modules())
    for name, layer in layers.items():
        if isinstance(layer, (nn.Embedding, nn.EmbeddingBag)) and layer.max_norm is not None:
            raise UnsupportedModuleError(
                f"the embedding {name!r} has max_norm={layer.max_norm}, with which each lookup writes into the weights "
                "that all tasks share; build it with max_norm=None"
            )
    if head is not None and not isinstance(layers.get(head), nn.Linear):
        linear = [name for name, layer in layers.items() if isinstance(layer, nn.Linear)]
        raise ConfigError(f"the head is the name of a linear layer, but {head!r} came; the module has {linear}")
    parts: list[Part] = []
    used: set[str | type[nn.Module]] = set()
    for names, parameter, layer in _parameters(module):
        name, short = names[0], names[0].rpartition(".")[2]
        if isinstance(parameter, nn.parameter.UninitializedParameter):
            raise UnsupportedModuleError(
                f"parameter {name!r} has no shape yet; pass one batch through the network first"
            )
        owners = {each.rpartition(".")[0] for each in names}
        of_head = head is not None and head in owners
        if of_head and len(owners) > 1:
            raise ConfigError(f"the head {head!r} shares its tensor with {names}; a task cannot have it of its own")
        usual = isinstance(layer, MASKABLE) and name.endswith("weight") and parameter.dim() > 1
        masked = not of_head and _is_selected(names, parameter, layer, usual, select, used)
        if masked and isinstance(layer, nn.RNNBase):
            raise UnsupportedModuleError(
                f"parameter {name!r} of a {type(layer).__name__} cannot be masked, since recurrent layers of torch "
                "read their weights from a place of their own; write the recurrence with linear layers"
            )
        role = "head" if of_head else "masked" if masked else "dense"
        value = "base" if usual or (masked and parameter.dim() > 1) else _value(short, layer)
        parts.append(Part(name, tuple(parameter.shape), type(layer).__name__, role, value, tuple(names[1:])))
    if select is not None and (unused := [entry for entry in select if entry not in used]):
        raise ConfigError(
            f"the selection {unused[0]!r} matches no parameter that can be masked; "
            f"the module has {[part.name for part in parts]}"
        )
    if head is None and not any(part.role == "masked" for part in parts):
        raise UnsupportedModuleError(
            "the network has nothing to mask: no linear, convolutional, embedding or attention layer; "
            "name parameters, or types of layers, by select=[...]"
        )
    return (*parts, *_buffers(layers))


def _parameters(module: nn.Module) -> list[tuple[list[str], Tensor, nn.Module]]:
    """Return each parameter once, with all its names and the layer of the first."""
    names: dict[int, tuple[list[str], Tensor, nn.Module]] = {}
    for path, layer in module.named_modules():
        for short, parameter in layer.named_parameters(recurse=False, remove_duplicate=False):
            name = f"{path}.{short}" if path else short
            names.setdefault(id(parameter), ([], parameter, layer))[0].append(name)
    return list(names.values())


def _buffers(layers: Mapping[str, nn.Module]) -> list[Part]:
    """Return the buffers that are part of the state of the module; the others, the module computes itself."""
    parts: list[Part] = []
    for path, layer in layers.items():
        for short, buffer in layer.named_buffers(recurse=False):
            if short in layer._non_persistent_buffers_set:  # pyright: ignore[reportPrivateUsage]
                continue
            name = f"{path}.{short}" if path else short
            known = isinstance(layer, (BATCH_NORM, *INSTANCE_NORM)) and short in STATISTICS
            value: Value = ("one" if short == "running_var" else "zero") if known else "own"
            parts.append(Part(name, tuple(buffer.shape), type(layer).__name__, "buffer", value))
    return parts


def _is_selected(
    names: list[str],
    parameter: Tensor,
    layer: nn.Module,
    usual: bool,
    select: Select | None,
    used: set[str | type[nn.Module]],
) -> bool:
    if select is None:
        return usual
    matching = [entry for entry in select if _matches(entry, names, parameter, layer, usual)]
    used.update(matching)
    return bool(matching)


def _matches(entry: str | type[nn.Module], names: list[str], parameter: Tensor, layer: nn.Module, usual: bool) -> bool:
    if not isinstance(entry, str):
        return isinstance(layer, entry) and parameter.dim() > 1
    if entry in names:
        return True
    return usual and any(character in entry for character in "*?[") and any(fnmatchcase(n, entry) for n in names)


def _value(short: str, layer: nn.Module) -> Value:
    if isinstance(layer, NORMALISATION) and short in ("weight", "bias"):
        return "one" if short == "weight" else "zero"
    if isinstance(layer, MASKABLE) and short.endswith("bias"):
        return "zero"
    return "own"
