"""The fixed weights that every task shares, kept as a recipe and a fingerprint."""

from collections.abc import Mapping
from typing import Any

from supermasks.bases.base import Base, Recipe, fingerprint
from supermasks.bases.checkpoint import load_checkpoint, read_checkpoint
from supermasks.bases.pretrained import PretrainedBase
from supermasks.bases.random import INITIALISATIONS, RandomBase
from supermasks.spec import build


def base_from_recipe(recipe: Mapping[str, Any]) -> Base:
    """Make the base that a stored recipe describes.

    Raises:
        ConfigError: the recipe names a class or fields that this version does not have.

    Example:
        >>> base_from_recipe({"type": "RandomBase", "seed": 3, "initialisation": "kaiming_normal"})
        RandomBase(seed=3, initialisation='kaiming_normal', density=1.0)
    """
    # Of a time before there was a choice.
    earlier = {"zero_padding": False} if recipe.get("type") == RandomBase.__name__ else {}
    return build({**earlier, **recipe}, Base)


__all__ = [
    "INITIALISATIONS",
    "Base",
    "PretrainedBase",
    "RandomBase",
    "Recipe",
    "base_from_recipe",
    "fingerprint",
    "load_checkpoint",
    "read_checkpoint",
]
