"""How a task is learned over a network: one method a file."""

from supermasks.methods.exssnet import ExSSNeT
from supermasks.methods.individual import Individual
from supermasks.methods.method import Learned, Method, Trainable
from supermasks.methods.supsup import SupSup

METHODS: tuple[type[Method], ...] = (SupSup, ExSSNeT, Individual)
"""The classes whose stored settings can be read back."""

__all__ = ["METHODS", "ExSSNeT", "Individual", "Learned", "Method", "SupSup", "Trainable"]
