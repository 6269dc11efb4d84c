"""LwF: one network for all tasks in turn, held to its earlier answers on the new inputs."""

from dataclasses import dataclass

from supermasks.experiments.ways.over_network import MethodWay
from supermasks.methods import Method
from supermasks.methods.lwf import LwF


@dataclass(frozen=True, kw_only=True)
class LwFWay(MethodWay):
    """One trunk that keeps its answers for earlier tasks, and a head a task (LwF).

    Attributes:
        strength: of the earlier answers.
        temperature: of the probabilities that are kept.
    """

    name = "lwf"
    label = "LwF"
    colour = "blue"
    heads = True

    strength: float = 1.0
    temperature: float = 2.0

    def method(self) -> Method:
        return LwF(strength=self.strength, temperature=self.temperature)
