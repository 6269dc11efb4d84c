"""Training: the loop, its settings, and how it scales over time, tasks and processes."""

from supermasks.training.augmentation import Augmentation, CropAndFlip
from supermasks.training.bar import Bar, Shown, watched
from supermasks.training.distributed import Processes, initialise, launched_by_torchrun
from supermasks.training.learning import LearnApart, LearnedTask, check_learnable, finish_task, learn_task
from supermasks.training.listening import CHECKPOINT_SECONDS, Checkpoint, Listeners, Progress
from supermasks.training.loop import fit
from supermasks.training.optimisers import SGD, Adam, AdamW, Optimiser, RMSprop
from supermasks.training.report import Fit
from supermasks.training.settings import Training
from supermasks.training.stages import fit_stages, forget_stages
from supermasks.training.steps import Callback, Step, checked_callbacks
from supermasks.training.together import fit_together

__all__ = [
    "CHECKPOINT_SECONDS",
    "SGD",
    "Adam",
    "AdamW",
    "Augmentation",
    "Bar",
    "Callback",
    "Checkpoint",
    "CropAndFlip",
    "Fit",
    "LearnApart",
    "LearnedTask",
    "Listeners",
    "Optimiser",
    "Processes",
    "Progress",
    "RMSprop",
    "Shown",
    "Step",
    "Training",
    "check_learnable",
    "checked_callbacks",
    "finish_task",
    "fit",
    "fit_stages",
    "fit_together",
    "forget_stages",
    "initialise",
    "launched_by_torchrun",
    "learn_task",
    "watched",
]
