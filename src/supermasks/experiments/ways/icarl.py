"""iCaRL: one network for all tasks in turn, and the nearest mean of stored examples decides."""

from dataclasses import dataclass

from supermasks.experiments.ways.over_network import MethodWay
from supermasks.methods import Method
from supermasks.methods.icarl import ICaRL


@dataclass(frozen=True, kw_only=True)
class ICaRLWay(MethodWay):
    """One trunk that replays stored examples, and the means of their features as the head of a task (iCaRL).

    Attributes:
        memory: the largest number of stored examples.
    """

    name = "icarl"
    label = "iCaRL"
    colour = "pink"
    heads = True

    memory: int = 200

    def method(self) -> Method:
        return ICaRL(memory=self.memory)
