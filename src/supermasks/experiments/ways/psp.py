"""PSP: one network for all tasks in turn, and a rotation of the inputs of each layer for each task."""

from dataclasses import dataclass

from supermasks.experiments.ways.over_network import MethodWay
from supermasks.methods import Method
from supermasks.methods.psp import PSP


@dataclass(frozen=True, kw_only=True)
class PSPWay(MethodWay):
    """The weights of all tasks in superposition, each behind its own rotations (SupSup, Section 4.1, "PSP")."""

    name = "psp"
    label = "PSP"
    colour = "orange"

    def method(self) -> Method:
        return PSP()
