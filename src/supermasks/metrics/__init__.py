"""Measures with named definitions, computed from plain numbers."""

from supermasks.metrics.continual import accuracy_so_far, average_accuracy, backward_transfer, forgetting
from supermasks.metrics.detection import auroc
from supermasks.metrics.routing import MeanInputRouter, mean_input

__all__ = [
    "MeanInputRouter",
    "accuracy_so_far",
    "auroc",
    "average_accuracy",
    "backward_transfer",
    "forgetting",
    "mean_input",
]
