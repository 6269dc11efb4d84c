"""A head a task, over the trunk of a network that was trained on the first task."""

from dataclasses import dataclass, replace

from supermasks.experiments.ways.trunk import of_heads, over_trunk
from supermasks.experiments.ways.way import Setup, Way
from supermasks.learner import Learner
from supermasks.methods import Individual
from supermasks.training import Training


@dataclass(frozen=True, kw_only=True)
class SeparateHeadsWay(Way):
    """A head a task over the trunk of the first task (SupSup, Section 4.1, "Separate Heads")."""

    name = "separate-heads"
    label = "separate heads"
    colour = "grey"
    heads = True
    trains_first = True

    def training_of_tasks(self, training: Training) -> Training:
        return of_heads(training)

    def learner(self, setup: Setup) -> Learner:
        module = setup.module()
        whole = replace(setup, training=replace(setup.training, head_rate=1.0, head_first=0.0))  # it has no head
        return over_trunk(setup, module, setup.tasks[0], whole.learner(setup.network(module=module), Individual()))
