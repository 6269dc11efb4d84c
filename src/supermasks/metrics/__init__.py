"""Measures with named definitions, computed from plain numbers."""

from supermasks.metrics.continual import average_accuracy, backward_transfer, forgetting
from supermasks.metrics.routing import MeanInputRouter, mean_input

__all__ = ["MeanInputRouter", "average_accuracy", "backward_transfer", "forgetting", "mean_input"]
