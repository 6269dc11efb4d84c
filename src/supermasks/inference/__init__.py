"""Task inference: to which task do unlabelled inputs belong? One algorithm a file."""

from supermasks.inference.binary import Binary
from supermasks.inference.calibration import Calibration
from supermasks.inference.exhaustive import Exhaustive
from supermasks.inference.gradient_descent import GradientDescent
from supermasks.inference.hopfield_recovery import HopfieldRecovery, Recovered, Try
from supermasks.inference.list_then_try import ListThenTry
from supermasks.inference.objectives import Entropy, MaxProbability, Objective, SuperfluousNeurons
from supermasks.inference.one_shot import OneShot
from supermasks.inference.running import RunningInference
from supermasks.inference.task_inference import TaskInference
from supermasks.inference.top_gamma import TopGamma
from supermasks.inference.two_shot import TwoShot

__all__ = [
    "Binary",
    "Calibration",
    "Entropy",
    "Exhaustive",
    "GradientDescent",
    "HopfieldRecovery",
    "ListThenTry",
    "MaxProbability",
    "Objective",
    "OneShot",
    "Recovered",
    "RunningInference",
    "SuperfluousNeurons",
    "TaskInference",
    "TopGamma",
    "Try",
    "TwoShot",
]
