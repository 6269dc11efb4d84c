"""Masks that are more accurate than SupSup's and still recognised: those of `supermasks.recipes.recognisable`."""

from dataclasses import dataclass, field

from supermasks.experiments.ways.supsup import MaskWay
from supermasks.masks import MaskRule, Threshold
from supermasks.methods import Diluted, Method


@dataclass(frozen=True, kw_only=True)
class RecognisableWay(MaskWay):
    """A mask a task, now and then trained while it is diluted by all others (docs/recognising.md).

    Attributes:
        share: of the steps that are made with the diluted mask.
        beta: how much of the diluted mask is the task's own.
    """

    name = "recognisable"
    label = "recognisable masks"
    colour = "orange"

    rule: MaskRule = field(default_factory=Threshold)
    share: float = 0.06
    beta: float = 0.35

    def method(self) -> Method:
        return Diluted(self.rule, self.initial, self.share, self.beta)
