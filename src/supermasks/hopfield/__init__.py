"""A memory for masks whose size does not grow with the number of tasks: Hopfield networks (HopSupSup)."""

from supermasks.hopfield.hebbian import Hebbian
from supermasks.hopfield.memory import HopfieldMemory
from supermasks.hopfield.rule import HopfieldRule
from supermasks.hopfield.storkey import Storkey

__all__ = ["Hebbian", "HopfieldMemory", "HopfieldRule", "Storkey"]
