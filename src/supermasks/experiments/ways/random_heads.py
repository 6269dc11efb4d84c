"""A head a task, over a trunk that stays random."""

from dataclasses import dataclass

from supermasks.experiments.ways.way import Setup, Way
from supermasks.learner import Learner


@dataclass(frozen=True, kw_only=True)
class RandomHeadsWay(Way):
    """A head a task over a random trunk (SupSup, Section 4.1, "Separate Heads - Rand W")."""

    name = "separate-heads-random"
    label = "separate heads, random trunk"
    colour = "black"
    heads = True

    def learner(self, setup: Setup) -> Learner:
        return setup.learner(setup.network(heads=True, select=[]))
