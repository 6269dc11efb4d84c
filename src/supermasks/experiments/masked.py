"""The methods that learn masks, as experiments choose them by name."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from supermasks.errors import ConfigError
from supermasks.masks import MaskRule
from supermasks.methods import ExSSNeT, SupSup
from supermasks.owned import Precision
from supermasks.scores import KKT, InitialScores, KaimingUniform, MeanOfMasks, MeanOfScores

Transfer = Literal["none", "masks", "scores", "kkt"]

TRANSFER: Mapping[Transfer, InitialScores] = MappingProxyType(
    {"none": KaimingUniform(), "masks": MeanOfMasks(), "scores": MeanOfScores(), "kkt": KKT()}
)
TRAINING_WEIGHTS = ("ssnet", "exssnet")
MASKED = ("supsup", *TRAINING_WEIGHTS)


def masked_method(
    name: str, rule: MaskRule, initial: InitialScores, weights: Precision = "float32", mask_share: float = 0.5
) -> SupSup:
    """Return SupSup, SSNeT or ExSSNeT.

    Args:
        name: one of `MASKED`.
        rule: from scores to masks.
        initial: what scores begin with.
        weights: in which precision trained weights are kept.
        mask_share: the share of the training in which the mask is found, where weights are trained after it.
    """
    if name == "supsup":
        return SupSup(rule, initial)
    return ExSSNeT(rule, initial, name == "exssnet", weights, mask_share)


def check_weights(name: str, weights: Precision) -> None:
    """Raise ConfigError if weights are to be kept in some precision, but the method trains none."""
    if weights != "float32" and name not in TRAINING_WEIGHTS:
        raise ConfigError(f"method {name!r} trains no weights to keep in {weights}; leave weights out")
