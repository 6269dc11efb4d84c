"""One network that is trained on all tasks in turn: what forgetting costs."""

from dataclasses import dataclass

from supermasks.experiments.ways.over_network import MethodWay
from supermasks.methods import Method
from supermasks.methods.sequential import Sequential


@dataclass(frozen=True, kw_only=True)
class SequentialWay(MethodWay):
    """One trunk that is trained on all tasks in turn, with a head a task: the lower bound (SupSup, Section 4.1)."""

    name = "sequential"
    label = "one network for all tasks in turn"
    colour = "red"
    heads = True

    def method(self) -> Method:
        return Sequential()


@dataclass(frozen=True, kw_only=True)
class OneHeadWay(MethodWay):
    """One network that is trained on all tasks in turn, with the same outputs for all: the lower bound on MNIST.

    It forgets more than with a head a task. SupSup does not say which of the two its PermutedMNIST and RotatedMNIST
    have; its figures are those of one head.
    """

    name = "sequential-one-head"
    label = "one network and one head for all tasks in turn"
    colour = "pink"

    def method(self) -> Method:
        return Sequential()
