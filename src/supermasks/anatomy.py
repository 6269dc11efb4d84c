"""The parts of a module: which parameters are masked, and how the others are treated."""

import re
import warnings
from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from fnmatch import fnmatchcase
from math import prod
from typing import Literal

from torch import Tensor, nn

from supermasks.errors import ConfigError, SupermasksWarning, UnsupportedModuleError
from supermasks.foreign_layers import is_conv1d

Select = Sequence[str | type[nn.Module]]
"""Selects what to mask: patterns of names, exact names, or types of layers."""

Value = Literal["base", "zero", "one", "own"]
"""The value of a part over a random base: drawn by the base, 0, 1, or the module's own."""

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
EMBEDDINGS = (nn.Embedding, nn.EmbeddingBag)
RECURRENT = (nn.RNNBase, nn.RNNCellBase)
MASKABLE = (nn.Linear, nn.Bilinear, *CONVOLUTIONS, *TRANSPOSED, *EMBEDDINGS, *RECURRENT, nn.MultiheadAttention)
BATCH_NORM = nn.modules.batchnorm._BatchNorm  # pyright: ignore[reportPrivateUsage]
INSTANCE_NORM = (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)
NORMALISATION = (BATCH_NORM, *INSTANCE_NORM, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
DENSE_SHARE = 0.05  # of the weights; class tokens and position tables are below it
WEIGHT = re.compile(r"(\w+_)?weight(_(ih|hh|hr)(_l\d+(_reverse)?)?)?")  # the suffixes of recurrent layers
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


@dataclass(frozen=True)
class Part:
    """One parameter or buffer of a module.

    Attributes:
        name: as in `module.named_parameters()` or `module.named_buffers()`.
        shape: of its tensor.
        layer: the type of its layer.
        role: "masked", "dense" (the same for all tasks), "head" (each task has its own), or "buffer" (a task may
            change it, such as the statistics of batch normalisation).
        value: its source if the base is random.
        tied: other names of the same tensor.
        inputs_first: whether the tensor is `in x out x ...`, as in transposed convolutions, not `out x in x ...`.
        groups: of a layer whose tensor is `in x out x ...`; a group of its inputs goes to a group of its outputs.
        padding: the padding row, 0 over random weights; None if there is none.
    """

    name: str
    shape: tuple[int, ...]
    layer: str
    role: Literal["masked", "dense", "head", "buffer"]
    value: Value
    tied: tuple[str, ...] = ()
    inputs_first: bool = False
    groups: int = 1
    padding: int | None = None

    @property
    def size(self) -> int:
        """The number of entries."""
        return prod(self.shape)


def dissect(
    module: nn.Module,
    select: Select | None = None,
    head: str | None = None,
    kept: Collection[str] | None = None,
    computed: Set[str] = frozenset(),
) -> tuple[Part, ...]:
    """Return the parameters and buffers of a module, each tensor once, in the order of the module.

    By default these weights are masked: those of linear, bilinear, convolutional, recurrent and embedding layers, the
    projections of attention, and the `Conv1D` layers of GPT-2. All else is dense.

    Over random weights (SupSup, Section 3.1), biases are 0, scales of normalisation 1 and shifts 0. Maskable weights
    that are not selected are random too. Parameters of other kinds of layers keep the module's own value. So do weights
    with a meaning: weights that the module has frozen (`requires_grad=False`) while others are trainable, such as a
    position table, and weights computed from other tensors (pruning, `torch.nn.utils.parametrizations`).

    Args:
        module: not changed.
        select: what to mask instead. A pattern with `*`, `?` or `[` selects among the weights that are masked by
            default. An exact name selects that parameter in any layer. A type selects the parameters of two or more
            dimensions in all layers of that type.
        head: the name of a linear layer; each task gets its own, dense.
        kept: the names of parameters that keep the module's own value, as stored in a bank; None decides it here.
        computed: the names of parameters that are computed from other tensors.

    Raises:
        UnsupportedModuleError: an embedding writes into its weights when it is called; or nothing is masked and there
            is no head.
        ConfigError: a selection matches nothing, or the head is not a linear layer.

    Example:
        >>> [(part.name, part.role, part.value) for part in dissect(nn.Linear(4, 2))]
        [('weight', 'masked', 'base'), ('bias', 'dense', 'zero')]
    """
    layers = dict(module.named_modules())
    _check_choices(layers, select, head)
    parts: list[Part] = []
    used: set[str | type[nn.Module]] = set()
    found = _parameters(module)
    weights = [parameter for names, parameter, layer in found if _is_weight(parameter, layer, _short(names[0]))]
    # If all are frozen, freezing marks none of them.
    freezes = len({parameter.requires_grad for parameter in weights}) > 1
    for names, parameter, layer in found:
        name, short, owners = names[0], _short(names[0]), {each.rpartition(".")[0] for each in names}
        of_head = head is not None and head in owners
        if of_head and len(owners) > 1:
            raise ConfigError(
                f"the head must not share its tensor with other layers, got {head!r}, shared by {names}; untie it"
            )
        usual = _is_weight(parameter, layer, short)
        masked = not of_head and _is_selected(names, parameter, layer, usual, select, used)
        role = "head" if of_head else "masked" if masked else "dense"
        fixed = (freezes and not parameter.requires_grad) or not computed.isdisjoint(names)
        means = fixed if kept is None else name in kept
        drawn = (usual or (masked and parameter.dim() > 1)) and not means
        parts.append(
            Part(
                name,
                tuple(parameter.shape),
                type(layer).__name__,
                role,
                "base" if drawn else "own" if means else _value(short, layer),
                tuple(names[1:]),
                isinstance(layer, TRANSPOSED) or is_conv1d(layer),
                layer.groups if isinstance(layer, TRANSPOSED) else 1,
                _padding_row(layers[owner] for owner in sorted(owners) if owner in layers),
            )
        )
    if select is not None and (unused := [entry for entry in select if entry not in used]):
        raise ConfigError(
            f"each entry of select must match a maskable parameter, got {unused[0]!r}; choose among "
            f"{[part.name for part in parts]}"
        )
    if head is None and not any(part.role == "masked" for part in parts):
        raise UnsupportedModuleError(
            "the network has nothing to mask: no linear, convolutional, recurrent, embedding or attention layer with "
            "floating-point weights; select parameters or types of layers with select=[...]"
        )
    return (*parts, *_buffers(layers))


def _check_choices(layers: Mapping[str, nn.Module], select: Select | None, head: str | None) -> None:
    """Check the arguments of `dissect`; raises the same errors."""
    if select is not None and (isinstance(select, str) or not all(isinstance(entry, (str, type)) for entry in select)):
        raise ConfigError(f"select must be a list of names, patterns or types of layers, got {select!r}")
    for name, layer in layers.items():
        if isinstance(layer, (nn.Embedding, nn.EmbeddingBag)) and layer.max_norm is not None:
            raise UnsupportedModuleError(
                f"an embedding must have max_norm=None, got {name!r} with max_norm={layer.max_norm}: each lookup would "
                "change the weights that all tasks share; build it with max_norm=None"
            )
    if head is not None and (not isinstance(head, str) or not isinstance(layers.get(head), nn.Linear)):
        linear = [name for name, layer in layers.items() if isinstance(layer, nn.Linear)]
        raise ConfigError(f"head must be the name of a linear layer, one of {linear}, got {head!r}")


def _parameters(module: nn.Module) -> list[tuple[list[str], Tensor, nn.Module]]:
    """Return each parameter once, with all its names and the layer of the first name."""
    found: dict[int, tuple[list[str], Tensor, nn.Module]] = {}
    for path, layer in module.named_modules():
        for short, parameter in layer.named_parameters(recurse=False, remove_duplicate=False):
            name = f"{path}.{short}" if path else short
            found.setdefault(id(parameter), ([], parameter, layer))[0].append(name)
    return list(found.values())


def _is_weight(parameter: Tensor, layer: nn.Module, short: str) -> bool:
    """Return whether a parameter is masked by default."""
    known = isinstance(layer, MASKABLE) or is_conv1d(layer)
    return known and bool(WEIGHT.fullmatch(short)) and parameter.dim() > 1 and parameter.is_floating_point()


def _short(name: str) -> str:
    return name.rpartition(".")[2]


def _padding_row(users: Iterable[nn.Module]) -> int | None:
    rows = [layer.padding_idx for layer in users if isinstance(layer, EMBEDDINGS)]
    return next((row for row in rows if row is not None), None)


def warn_of_dense_weights(parts: Sequence[Part]) -> None:
    """Warn if many weights are dense: no task can change them."""
    weights = [part for part in parts if part.role in ("masked", "dense") and sum(size > 1 for size in part.shape) > 1]
    dense = [part for part in weights if part.role == "dense"]
    left, total = (sum(part.size for part in some) for some in (dense, weights))
    if left > DENSE_SHARE * total:
        layers = sorted({part.layer for part in dense})
        warnings.warn(
            f"{left:,} of {total:,} weights ({left / total:.0%}) are never masked, and stay the same for all tasks: "
            f"those of {', '.join(layers)} ({dense[0].name!r}, for example). To mask them too, name them or their "
            "types of layers in Network(module, base, select=[...])",
            SupermasksWarning,
            stacklevel=2,
        )


def _buffers(layers: Mapping[str, nn.Module]) -> list[Part]:
    """Return the persistent buffers; the module computes the others."""
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
    if (isinstance(layer, MASKABLE) or is_conv1d(layer)) and short.endswith("bias"):
        return "zero"
    return "own"
