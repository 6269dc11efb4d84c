"""One network, thousands of tasks, no forgetting: supermasks over fixed weights, and task inference."""

from supermasks import (
    bases,
    data,
    datasets,
    errors,
    evaluation,
    hopfield,
    inference,
    masks,
    methods,
    metrics,
    nets,
    recipes,
    router,
    scores,
    streams,
    training,
    workers,
)
from supermasks.bank import BankFolder, MaskBank
from supermasks.compression import compress
from supermasks.errors import SupermasksError
from supermasks.input_form import InputForm
from supermasks.learner import Learner
from supermasks.network import Network
from supermasks.types import GG, GNS, GNU, NNS, Belief, Examples, Prediction, Scenario, Task
from supermasks.version import __version__

__all__ = [
    "GG",
    "GNS",
    "GNU",
    "NNS",
    "BankFolder",
    "Belief",
    "Examples",
    "InputForm",
    "Learner",
    "MaskBank",
    "Network",
    "Prediction",
    "Scenario",
    "SupermasksError",
    "Task",
    "__version__",
    "bases",
    "compress",
    "data",
    "datasets",
    "errors",
    "evaluation",
    "hopfield",
    "inference",
    "masks",
    "methods",
    "metrics",
    "nets",
    "recipes",
    "router",
    "scores",
    "streams",
    "training",
    "workers",
]
