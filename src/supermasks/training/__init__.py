"""Training: the loop, its settings, and how it scales over time, tasks and processes."""

from supermasks.training.augmentation import AUGMENTATIONS, Augmentation, CropAndFlip
from supermasks.training.distributed import Processes, initialise, launched_by_torchrun
from supermasks.training.loop import CHECKPOINT_SECONDS, Effective, Fit, Progress, fit
from supermasks.training.optimisers import OPTIMISERS, SGD, Adam, AdamW, Optimiser, RMSprop
from supermasks.training.order import Order
from supermasks.training.settings import Training
from supermasks.training.together import fit_together

__all__ = [
    "AUGMENTATIONS",
    "CHECKPOINT_SECONDS",
    "OPTIMISERS",
    "SGD",
    "Adam",
    "AdamW",
    "Augmentation",
    "CropAndFlip",
    "Effective",
    "Fit",
    "Optimiser",
    "Order",
    "Processes",
    "Progress",
    "RMSprop",
    "Training",
    "fit",
    "fit_together",
    "initialise",
    "launched_by_torchrun",
]
