"""Which task do unlabelled inputs belong to? One algorithm a file, and the objectives that they minimise."""

from supermasks.inference.binary import Binary
from supermasks.inference.exhaustive import Exhaustive
from supermasks.inference.objectives import Entropy, MaxProbability, Objective, SuperfluousNeurons
from supermasks.inference.one_shot import OneShot
from supermasks.inference.task_inference import TaskInference

OBJECTIVES: tuple[type[Objective], ...] = (Entropy, SuperfluousNeurons, MaxProbability)
INFERENCES: tuple[type[TaskInference], ...] = (OneShot, Binary, Exhaustive)
"""The classes whose stored settings can be read back."""

__all__ = [
    "INFERENCES",
    "OBJECTIVES",
    "Binary",
    "Entropy",
    "Exhaustive",
    "MaxProbability",
    "Objective",
    "OneShot",
    "SuperfluousNeurons",
    "TaskInference",
]
