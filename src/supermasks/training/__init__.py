"""Training: the loop, its settings, and how it scales over time, tasks and processes."""

from supermasks.training.augmentation import AUGMENTATIONS, Augmentation, CropAndFlip
from supermasks.training.distributed import Processes, initialise, launched_by_torchrun
from supermasks.training.loop import CHECKPOINT_SECONDS, Effective, Fit, Progress, fit
from supermasks.training.optimisers import OPTIMISERS, SGD, Adam, AdamW, Optimiser, RMSprop
from supermasks.training.settings import Training
from supermasks.training.stages import fit_stages, forget_stages
from supermasks.training.statistics import with_statistics
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
    "Processes",
    "Progress",
    "RMSprop",
    "Training",
    "fit",
    "fit_stages",
    "fit_together",
    "forget_stages",
    "initialise",
    "launched_by_torchrun",
    "with_statistics",
]
