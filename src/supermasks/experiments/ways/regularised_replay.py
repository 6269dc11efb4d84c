"""Regularised replay: ER, whose features are held to what they were before the task."""

from dataclasses import dataclass

from supermasks.experiments.ways.over_network import MethodWay
from supermasks.methods import Method
from supermasks.methods.regularised_replay import RegularisedReplay


@dataclass(frozen=True, kw_only=True)
class RegularisedReplayWay(MethodWay):
    """One trunk that replays stored examples and keeps its features, and a head a task (ExSSNeT, Section 4.1).

    Attributes:
        memory: the largest number of stored examples.
        strength: of the penalty on features that move.
    """

    name = "regularised-replay"
    label = "regularised replay"
    colour = "green"
    heads = True

    memory: int = 200
    strength: float = 1.0

    def method(self) -> Method:
        return RegularisedReplay(memory=self.memory, strength=self.strength)
