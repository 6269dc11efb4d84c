"""BatchEnsemble: two vectors a layer for each task."""

from dataclasses import dataclass, replace
from typing import Literal

from supermasks.bases import RandomBase
from supermasks.errors import ConfigError
from supermasks.experiments.ways.way import Setup, Way
from supermasks.learner import Learner
from supermasks.methods.batch_ensemble import BatchEnsemble


@dataclass(frozen=True, kw_only=True)
class BatchEnsembleWay(Way):
    """Each task scales the inputs and the outputs of every layer (SupSup, Section 4.1, "BatchE").

    Attributes:
        first_trains: the first task also trains the weights, which are then frozen; otherwise they stay random.
        initialisation: the distribution of the random weights. The paper uses "kaiming_normal" (Appendix D.3).
    """

    name = "batch-ensemble"
    label = "BatchEnsemble"
    colour = "sky"

    first_trains: bool = True
    initialisation: Literal["signed_kaiming_constant", "kaiming_normal"] = "signed_kaiming_constant"

    def learner(self, setup: Setup) -> Learner:
        base = setup.net.base(setup.seed, 1.0)
        if isinstance(base, RandomBase):
            base = replace(base, initialisation=self.initialisation)
        elif self.initialisation != type(self).initialisation:
            raise ConfigError(
                f"initialisation is for networks with random weights, but those of {setup.net.title} are pretrained; "
                "leave it out"
            )
        return setup.learner(setup.network(base=base), BatchEnsemble(self.first_trains))
