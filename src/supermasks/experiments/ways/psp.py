"""PSP: one network for all tasks in turn, and a rotation of the inputs of each layer for each task."""

from dataclasses import dataclass

from supermasks.experiments.ways.way import Setup, Way
from supermasks.learner import Learner
from supermasks.methods.psp import PSP


@dataclass(frozen=True, kw_only=True)
class PSPWay(Way):
    """The weights of all tasks in superposition, each behind its own rotations (SupSup, Section 4.1, "PSP")."""

    name = "psp"
    label = "PSP"
    colour = "orange"

    def learner(self, setup: Setup) -> Learner:
        return setup.learner(setup.network(), PSP())
