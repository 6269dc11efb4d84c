"""EWC: one network for all tasks in turn, whose weights are held back where earlier tasks need them."""

from dataclasses import dataclass

from supermasks.experiments.ways.over_network import MethodWay
from supermasks.methods import Method
from supermasks.methods.ewc import EWC


@dataclass(frozen=True, kw_only=True)
class EWCWay(MethodWay):
    """One trunk with a penalty on the weights that earlier tasks need, and a head a task (online EWC).

    Attributes:
        strength: of the penalty.
        decay: of the importance for older tasks, from 0 to 1.
        examples: how many training examples the importance is measured on.
    """

    name = "ewc"
    label = "EWC"
    colour = "grey"
    heads = True

    strength: float = 100.0
    decay: float = 1.0
    examples: int = 200

    def method(self) -> Method:
        return EWC(strength=self.strength, decay=self.decay, examples=self.examples)
