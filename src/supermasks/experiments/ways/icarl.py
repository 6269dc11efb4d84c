"""iCaRL: one network for all tasks in turn, and the nearest mean of stored examples decides."""

from dataclasses import dataclass

from supermasks.experiments.ways.way import Setup, Way
from supermasks.learner import Learner
from supermasks.methods.icarl import ICaRL


@dataclass(frozen=True, kw_only=True)
class ICaRLWay(Way):
    """One trunk that replays stored examples, and the means of their features as the head of a task (iCaRL).

    Attributes:
        memory: the largest number of stored examples.
    """

    name = "icarl"
    label = "iCaRL"
    colour = "pink"
    heads = True

    memory: int = 200

    def learner(self, setup: Setup) -> Learner:
        return setup.learner(setup.network(heads=True), ICaRL(memory=self.memory))
