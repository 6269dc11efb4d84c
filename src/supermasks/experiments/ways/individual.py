"""Individually trained networks: all weights are trained for each task, and kept."""

from dataclasses import dataclass

from supermasks.experiments.ways.way import Setup, Way
from supermasks.learner import Learner
from supermasks.methods import Individual


@dataclass(frozen=True, kw_only=True)
class IndividualWay(Way):
    """A network a task, each trained from the base."""

    name = "individual"
    label = "individually trained"
    colour = "red"

    def learner(self, setup: Setup) -> Learner:
        return setup.learner(setup.network(), Individual())


@dataclass(frozen=True, kw_only=True)
class WarmWay(Way):
    """A network a task, each trained from the one before: the upper bound (SupSup, Section 4.1)."""

    name = "individual-warm"
    label = "individually trained, warm"
    colour = "orange"

    def learner(self, setup: Setup) -> Learner:
        return setup.learner(setup.network(), Individual(warm=True))
