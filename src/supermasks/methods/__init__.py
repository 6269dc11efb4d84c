"""How a task is learned over a network: one method a file."""

from supermasks.methods.method import Method, Trainable
from supermasks.methods.supsup import SupSup

METHODS: tuple[type[Method], ...] = (SupSup,)
"""The classes whose stored settings can be read back."""

__all__ = ["METHODS", "Method", "SupSup", "Trainable"]
