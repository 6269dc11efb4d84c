"""One network that is trained on all tasks in turn, with a head a task: what forgetting costs."""

from dataclasses import dataclass

from supermasks.experiments.ways.way import Setup, Way
from supermasks.learner import Learner
from supermasks.methods.sequential import Sequential


@dataclass(frozen=True, kw_only=True)
class SequentialWay(Way):
    """One trunk that is trained on all tasks in turn, with a head a task: the lower bound (SupSup, Section 4.1)."""

    name = "sequential"
    label = "one network for all tasks in turn"
    colour = "red"
    heads = True

    def learner(self, setup: Setup) -> Learner:
        return setup.learner(setup.network(heads=True), Sequential())
