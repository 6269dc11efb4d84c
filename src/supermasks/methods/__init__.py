"""How a task is learned over a network: one method a file."""

from supermasks.methods.diluted import Diluted
from supermasks.methods.exssnet import ExSSNeT
from supermasks.methods.individual import Individual
from supermasks.methods.method import Learned, Method, Trainable
from supermasks.methods.supsup import SupSup

__all__ = ["Diluted", "ExSSNeT", "Individual", "Learned", "Method", "SupSup", "Trainable"]
