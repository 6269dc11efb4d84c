"""The fixed weights that all tasks share, stored as a recipe and a fingerprint."""

from collections.abc import Mapping
from typing import Any

from supermasks.bases.base import Base, ComputedBase, fingerprint
from supermasks.bases.checkpoint import load_checkpoint, read_checkpoint
from supermasks.bases.pretrained import PretrainedBase
from supermasks.bases.random import INITIALISATIONS, RandomBase
from supermasks.spec import build


def base_from_recipe(recipe: Mapping[str, Any]) -> Base:
    """Return the base that a stored recipe describes.

    Raises:
        ConfigError: this version has no such class, or the class has no such fields.

    Example:
        >>> base_from_recipe({"type": "RandomBase", "seed": 3, "initialisation": "kaiming_normal"})
        RandomBase(seed=3, initialisation='kaiming_normal', density=1.0)
    """
    # Early recipes do not name this field.
    earlier = {"zero_padding": False} if recipe.get("type") == RandomBase.__name__ else {}
    return build({**earlier, **recipe}, Base)


__all__ = [
    "INITIALISATIONS",
    "Base",
    "ComputedBase",
    "PretrainedBase",
    "RandomBase",
    "base_from_recipe",
    "fingerprint",
    "load_checkpoint",
    "read_checkpoint",
]
