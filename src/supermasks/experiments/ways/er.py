"""ER: one network for all tasks in turn, and examples of earlier tasks in each batch."""

from dataclasses import dataclass

from supermasks.experiments.ways.over_network import MethodWay
from supermasks.methods import Method
from supermasks.methods.experience_replay import ExperienceReplay


@dataclass(frozen=True, kw_only=True)
class ERWay(MethodWay):
    """One trunk that replays stored examples, and a head a task (ER).

    Attributes:
        memory: the largest number of stored examples.
    """

    name = "er"
    label = "ER"
    colour = "orange"
    heads = True

    memory: int = 200

    def method(self) -> Method:
        return ExperienceReplay(memory=self.memory)
