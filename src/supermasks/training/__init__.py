"""The training loop and its settings."""

from supermasks.training.loop import Fit, Progress, Training, fit
from supermasks.training.optimisers import OPTIMISERS, SGD, Adam, Optimiser, RMSprop

__all__ = ["OPTIMISERS", "SGD", "Adam", "Fit", "Optimiser", "Progress", "RMSprop", "Training", "fit"]
