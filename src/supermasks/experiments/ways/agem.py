"""A-GEM: one network for all tasks in turn, whose steps may not increase the loss on stored examples."""

from dataclasses import dataclass

from supermasks.experiments.ways.over_network import MethodWay
from supermasks.methods import Method
from supermasks.methods.agem import AGEM


@dataclass(frozen=True, kw_only=True)
class AGEMWay(MethodWay):
    """One trunk with projected gradients, and a head a task (A-GEM).

    Attributes:
        memory: the largest number of stored examples.
    """

    name = "agem"
    label = "A-GEM"
    colour = "sky"
    heads = True

    memory: int = 200

    def method(self) -> Method:
        return AGEM(memory=self.memory)
