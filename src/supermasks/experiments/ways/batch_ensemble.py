"""BatchEnsemble: two vectors a layer for each task."""

from dataclasses import dataclass

from supermasks.experiments.ways.way import Setup, Way
from supermasks.learner import Learner
from supermasks.methods.batch_ensemble import BatchEnsemble


@dataclass(frozen=True, kw_only=True)
class BatchEnsembleWay(Way):
    """Each task scales the inputs and the outputs of every layer (SupSup, Section 4.1, "BatchE").

    Attributes:
        first_trains: the first task also trains the weights, which are then frozen; otherwise they stay random.
    """

    name = "batch-ensemble"
    label = "BatchEnsemble"
    colour = "sky"

    first_trains: bool = True

    def learner(self, setup: Setup) -> Learner:
        return setup.learner(setup.network(), BatchEnsemble(self.first_trains))
