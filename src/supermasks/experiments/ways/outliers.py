"""Masks that recognise their own inputs: superfluous neurons learn to answer images that are not of the task."""

from dataclasses import dataclass, field

from supermasks.experiments.ways.supsup import MaskWay
from supermasks.masks import MaskRule, Threshold
from supermasks.methods import Method, Outliers
from supermasks.methods.outliers import Kind


@dataclass(frozen=True, kw_only=True)
class OutliersWay(MaskWay):
    """A mask a task, trained on images of the task and on outliers made from them (docs/recognising.md).

    Attributes:
        kinds: how outliers are made: rotated, warped, scrambled.
        weight: of the outliers in the loss.
    """

    name = "outliers"
    label = "masks that know outliers"
    colour = "pink"

    rule: MaskRule = field(default_factory=Threshold)
    kinds: tuple[Kind, ...] = ("rotated", "warped")
    weight: float = 1.0

    def method(self) -> Method:
        return Outliers(self.rule, self.initial, self.kinds, self.weight)
