"""ER: one network for all tasks in turn, and examples of earlier tasks in each batch."""

from dataclasses import dataclass

from supermasks.experiments.ways.way import Setup, Way
from supermasks.learner import Learner
from supermasks.methods.experience_replay import ExperienceReplay


@dataclass(frozen=True, kw_only=True)
class ERWay(Way):
    """One trunk that replays stored examples, and a head a task (ER).

    Attributes:
        memory: the largest number of stored examples.
    """

    name = "er"
    label = "ER"
    colour = "orange"
    heads = True

    memory: int = 200

    def learner(self, setup: Setup) -> Learner:
        return setup.learner(setup.network(heads=True), ExperienceReplay(memory=self.memory))
