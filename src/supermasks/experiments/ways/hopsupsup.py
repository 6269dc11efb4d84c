"""HopSupSup: a mask on the outputs of layers a task, which a Hopfield memory of fixed size can hold."""

from dataclasses import dataclass, field

from supermasks.experiments.architectures.gated import Gated2048
from supermasks.experiments.ways.supsup import MaskWay
from supermasks.masks import MaskRule, Threshold
from supermasks.methods import Method, SupSup
from supermasks.scores import Constant, InitialScores


@dataclass(frozen=True, kw_only=True)
class HopSupSupWay(MaskWay):
    """A mask a task on the outputs of layers, over fixed weights (SupSup, Section 3.5 and Appendix B).

    All scores begin at 0, so each mask begins with all ones.
    """

    name = "hopsupsup"
    label = "HopSupSup"
    colour = "sky"
    over = Gated2048

    rule: MaskRule = field(default_factory=Threshold)
    initial: InitialScores = field(default_factory=lambda: Constant(0.0))

    def method(self) -> Method:
        return SupSup(self.rule, self.initial)
