"""Individually trained networks: all weights are trained for each task, and kept."""

from dataclasses import dataclass

from supermasks.experiments.ways.over_network import MethodWay
from supermasks.methods import Individual, Method


@dataclass(frozen=True, kw_only=True)
class IndividualWay(MethodWay):
    """A network a task, each trained from the base."""

    name = "individual"
    label = "individually trained"
    colour = "red"

    def method(self) -> Method:
        return Individual()


@dataclass(frozen=True, kw_only=True)
class WarmWay(MethodWay):
    """A network a task, each trained from the one before: the upper bound (SupSup, Section 4.1)."""

    name = "individual-warm"
    label = "individually trained, warm"
    colour = "orange"

    def method(self) -> Method:
        return Individual(warm=True)
