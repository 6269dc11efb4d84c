"""How a task is learned over a network. Each file has one method; this package finds and exports them all."""

from supermasks.discovery import classes_in
from supermasks.methods.diluted import Diluted
from supermasks.methods.exssnet import ExSSNeT
from supermasks.methods.individual import Individual
from supermasks.methods.method import Method
from supermasks.methods.outliers import Outliers
from supermasks.methods.session import Criterion, Learned, Lesson, Logits, Session, initial_head
from supermasks.methods.supsup import MaskSession, SupSup

globals().update(classes_in(__name__, __path__, Method))

__all__ = [
    "Criterion",
    "Diluted",
    "ExSSNeT",
    "Individual",
    "Learned",
    "Lesson",
    "Logits",
    "MaskSession",
    "Method",
    "Outliers",
    "Session",
    "SupSup",
    "initial_head",
]
