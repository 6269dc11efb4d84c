"""DER and DER++: one network for all tasks in turn, held to its earlier answers for stored examples."""

from dataclasses import dataclass

from supermasks.experiments.ways.over_network import MethodWay
from supermasks.methods import Method
from supermasks.methods.dark_experience import DER, DERpp


@dataclass(frozen=True, kw_only=True)
class DERWay(MethodWay):
    """One trunk that replays stored examples with their logits, and a head a task (DER).

    Attributes:
        alpha: the weight of the earlier answers.
        memory: the largest number of stored examples.
    """

    name = "der"
    label = "DER"
    colour = "green"
    heads = True

    alpha: float = 0.3
    memory: int = 200

    def method(self) -> Method:
        return DER(alpha=self.alpha, memory=self.memory)


@dataclass(frozen=True, kw_only=True)
class DERppWay(MethodWay):
    """One trunk that replays stored examples with their logits and labels, and a head a task (DER++).

    Attributes:
        alpha: the weight of the earlier answers.
        beta: the weight of the labels.
        memory: the largest number of stored examples.
    """

    name = "derpp"
    label = "DER++"
    colour = "pink"
    heads = True

    alpha: float = 0.1
    beta: float = 0.5
    memory: int = 200

    def method(self) -> Method:
        return DERpp(alpha=self.alpha, beta=self.beta, memory=self.memory)
