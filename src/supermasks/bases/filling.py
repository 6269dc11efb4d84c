"""A module gets the values of a base."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from supermasks.anatomy import Part
from supermasks.bases.base import Base, check_values, fingerprint
from supermasks.discovery import is_ours
from supermasks.errors import ConfigError, MaskError


def fill(
    module: nn.Module, parts: Sequence[Part], base: Base, kept: Mapping[str, Tensor] | None = None
) -> dict[str, Tensor]:
    """Write the values of a base into a module, and return them by name.

    Args:
        module: is changed.
        parts: the parameters and buffers that get a value.
        base: gives the values.
        kept: replaces the module's own values, by name, as a bank stores them; None leaves those.

    Raises:
        ConfigError: the base gives a part no value, or one of another shape or type; or a base of a user's own class
            gives other values on the second call.
        MaskError: the kept values are not those of this module.

    Example:
        >>> from supermasks.anatomy import dissect
        >>> from supermasks.bases import RandomBase
        >>> module = nn.Linear(4, 2)
        >>> values = fill(module, dissect(module), RandomBase(0))
        >>> torch.equal(module.weight, values["weight"]), module.bias.tolist()
        (True, [0.0, 0.0])
    """
    held = {**dict(module.named_parameters(remove_duplicate=False)), **dict(module.named_buffers())}
    own = {name: value.detach() for name, value in held.items()}
    if kept is not None:
        own |= _checked_kept(kept, base.kept(parts), own)
    values = base.values(parts, own)
    kinds = {part.name: (tuple(own[part.name].shape), own[part.name].dtype) for part in parts}
    check_values(f"{type(base).__name__}.values", values, kinds)
    if not is_ours(type(base)):  # it may keep its tensors and change them later, or draw others each time
        values = {name: value.clone() for name, value in values.items()}
        if fingerprint(values) != fingerprint(base.values(parts, own)):
            raise ConfigError(
                f"{type(base).__name__} must give the same values on every call, but gave others on the second one, so "
                "no bank over it could be loaded; draw random numbers from a seed, as with "
                "supermasks.seeding.generator(self.seed, 'base', name)"
            )
    with torch.no_grad():
        for name, value in values.items():
            held[name].copy_(value)
    return values


def _checked_kept(kept: Mapping[str, Tensor], names: list[str], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    fitting = {name for name in names if name in kept and kept[name].shape == own[name].shape}
    if set(kept) != set(names) or fitting != set(names):
        raise MaskError(
            f"the bank keeps the values of {sorted(kept)}, but the module has its own {sorted(names)}; open the bank "
            "with a module of the architecture that it was learned with"
        )
    return dict(kept)
