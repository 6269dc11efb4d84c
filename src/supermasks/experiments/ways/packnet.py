"""PackNet: each task trains free weights of one network, and keeps the largest of them."""

from dataclasses import dataclass

from supermasks.experiments.ways.over_network import MethodWay
from supermasks.methods import Method
from supermasks.methods.packnet import PackNet
from supermasks.owned import Precision


@dataclass(frozen=True, kw_only=True)
class PackNetWay(MethodWay):
    """A part of the weights for each task, found by pruning, and a head a task (PackNet).

    Attributes:
        keep: the share of the free weights of each layer that a task keeps.
        train_share: the share of the steps before the pruning.
        weights: in which precision trained weights are kept.
    """

    name = "packnet"
    label = "PackNet"
    colour = "sky"
    heads = True

    keep: float = 0.25
    train_share: float = 0.67
    weights: Precision = "float32"

    def method(self) -> Method:
        return PackNet(keep=self.keep, train_share=self.train_share, precision=self.weights)
