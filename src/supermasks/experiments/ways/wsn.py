"""WSN: mask and weights of a task are trained together, and scores are kept from task to task."""

from dataclasses import dataclass, field

from supermasks.experiments.ways.supsup import MaskWay
from supermasks.masks import MaskRule, TopK
from supermasks.methods import Method
from supermasks.methods.wsn import WSN
from supermasks.owned import Precision
from supermasks.scores import InitialScores, LastScores


@dataclass(frozen=True, kw_only=True)
class WSNWay(MaskWay):
    """A mask a task, trained together with weights that no earlier task uses (WSN).

    Attributes:
        weights: in which precision trained weights are kept.
    """

    name = "wsn"
    label = "WSN"
    colour = "green"

    rule: MaskRule = field(default_factory=lambda: TopK(0.3))
    initial: InitialScores = field(default_factory=LastScores)
    weights: Precision = "float32"

    def method(self) -> Method:
        return WSN(self.rule, self.initial, precision=self.weights)
