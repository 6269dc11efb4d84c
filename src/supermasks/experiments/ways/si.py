"""SI: one network for all tasks in turn, whose weights are held back where they helped earlier tasks."""

from dataclasses import dataclass

from supermasks.experiments.ways.way import Setup, Way
from supermasks.learner import Learner
from supermasks.methods.synaptic import SI


@dataclass(frozen=True, kw_only=True)
class SIWay(Way):
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

    def learner(self, setup: Setup) -> Learner:
        return setup.learner(setup.network(heads=True), SI(strength=self.strength, damping=self.damping))
