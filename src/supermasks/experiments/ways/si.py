"""SI: one network for all tasks in turn, whose weights are held back where they helped earlier tasks."""

from dataclasses import dataclass

from supermasks.experiments.ways.over_network import MethodWay
from supermasks.methods import Method
from supermasks.methods.synaptic import SI


@dataclass(frozen=True, kw_only=True)
class SIWay(MethodWay):
    """One trunk with a penalty on the weights that helped earlier tasks, and a head a task (SI).

    Attributes:
        strength: of the penalty.
        damping: limits the importance of weights that hardly move.
    """

    name = "si"
    label = "SI"
    colour = "black"
    heads = True

    strength: float = 1.0
    damping: float = 1e-3

    def method(self) -> Method:
        return SI(strength=self.strength, damping=self.damping)
