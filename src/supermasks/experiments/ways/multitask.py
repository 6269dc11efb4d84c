"""Multitask: a trunk is trained on all tasks at once, before the first of them."""

from dataclasses import dataclass, replace

from supermasks.data.joint import joint_task
from supermasks.experiments.ways.trunk import of_heads, over_trunk
from supermasks.experiments.ways.way import Setup, Way
from supermasks.learner import Learner
from supermasks.methods import Individual
from supermasks.training import Training


@dataclass(frozen=True, kw_only=True)
class MultitaskWay(Way):
    """A head a task over a trunk that was trained on all tasks at once: an upper bound (ExSSNeT, Section 4.1).

    In the joint training each class of each task has its own output. It takes as many epochs over all examples as a
    task takes over its own. It sees the examples of later tasks, which no other way does.
    """

    name = "multitask"
    label = "multitask"
    colour = "black"
    heads = True
    trains_first = True

    def training_of_tasks(self, training: Training) -> Training:
        return of_heads(training)

    def learner(self, setup: Setup) -> Learner:
        module = setup.module()
        joint = setup.learner(setup.network(heads=True, module=module), Individual())
        joint.training = _of_all(setup.training, len(setup.tasks))
        return over_trunk(setup, module, joint_task("all tasks", list(setup.tasks)), joint)


def _of_all(training: Training, tasks: int) -> Training:
    """Return the training of all tasks at once; epochs are over all examples, so only steps are multiplied."""
    return training if training.steps is None else replace(training, steps=training.steps * tasks)
