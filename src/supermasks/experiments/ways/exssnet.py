"""ExSSNeT: a mask a task, and weights that it selects and no earlier task uses are trained."""

from dataclasses import dataclass, field
from typing import ClassVar

from supermasks.experiments.ways.supsup import MaskWay
from supermasks.masks import MaskRule, TopK
from supermasks.methods import ExSSNeT, Method
from supermasks.owned import Precision


@dataclass(frozen=True, kw_only=True)
class ExSSNeTWay(MaskWay):
    """A mask a task, and exclusively trained weights (ExSSNeT, Section 3.1).

    Weights are trained by `weight_optimiser` of the training, or as scores are.

    Attributes:
        weights: in which precision trained weights are kept.
        together: whether weights are trained in the same steps as the mask, not after it as in the paper.
        mask_share: the share of the training in which the mask is found, where weights are trained after it.
    """

    name = "exssnet"
    label = "ExSSNeT"
    colour = "green"
    exclusive: ClassVar[bool] = True

    rule: MaskRule = field(default_factory=lambda: TopK(0.1))
    weights: Precision = "float32"
    together: bool = False
    mask_share: float = 0.5

    def method(self) -> Method:
        return ExSSNeT(
            self.rule,
            self.initial,
            exclusive=self.exclusive,
            precision=self.weights,
            together=self.together,
            mask_share=self.mask_share,
        )
