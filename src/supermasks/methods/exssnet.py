"""ExSSNeT and SSNeT: a supermask is found, then weights that it selects are trained."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from supermasks.errors import ConfigError
from supermasks.masks import Mask, MaskRule, TopK
from supermasks.methods.method import Learned, Stage, Trainable, trainable_on
from supermasks.methods.supsup import SupSup
from supermasks.network import Network
from supermasks.owned import PRECISIONS, Owned, Precision
from supermasks.scores import Past


@dataclass(frozen=True, eq=False)
class _Weights(Trainable):
    """Weights under training, as one vector a parameter: what is not in it, no optimiser can move.

    Attributes:
        learned: what finding the mask has left.
        trained: the positions of the weights in the vectors.
        places: their indices in the flattened parameters.
        fixed: the effective weights before.
    """

    learned: Learned = field(kw_only=True)
    trained: Mask = field(kw_only=True)
    places: Mapping[str, Tensor] = field(kw_only=True)
    fixed: Mapping[str, Tensor] = field(kw_only=True)


@dataclass(frozen=True)
class ExSSNeT(SupSup):
    """Find a supermask over the weights as earlier tasks left them, then train selected weights (ExSSNeT, Section 3).

    Task `i` learns `M_i` over `W^(i-1)`, then trains, inside of the subnetwork `W * M_i`, the weights of

        M_free = M_i - (M_1 | ... | M_(i-1))          exclusive (ExSSNeT)
        M_free = M_i                                  otherwise (SSNeT)

    and writes them into the network. Exclusive training changes no weight that an earlier task uses, so that none is
    forgotten; where no weight is free it is SupSup. SSNeT changes weights that earlier tasks use, and forgets.

    Attributes:
        rule: the function from scores to mask; the paper keeps 10% of each layer.
        initial: what the scores begin with.
        exclusive: train only weights that no earlier task uses.
        precision: in which the changes of the weights are kept: "float32", "float16", "int8" or "int4".
        mask_share: the share of the training in which the mask is found; the weights have the rest.
        weight_rate: the learning rate of the weights, as a multiple of that of the scores.

    Raises:
        ConfigError: the share is not between 0 and 1, the rate is not positive, or there is no such precision.
    """

    rule: MaskRule = field(default_factory=lambda: TopK(0.1))
    exclusive: bool = True
    precision: Precision = "float32"
    mask_share: float = 0.5
    weight_rate: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.mask_share < 1:
            raise ConfigError(f"masks have a share of the training between 0 and 1, but {self.mask_share} came")
        if not 0 < self.weight_rate < float("inf"):
            raise ConfigError(f"the rate of weights is a positive multiple, but {self.weight_rate} came")
        if self.precision not in PRECISIONS:
            raise ConfigError(
                f"the precision of weights is one of {', '.join(PRECISIONS)}, but {self.precision!r} came"
            )

    @property
    def stages(self) -> tuple[Stage, ...]:
        return Stage(self.mask_share), Stage(1 - self.mask_share, self.weight_rate)

    def following(self, network: Network, trainable: Trainable, past: Past) -> Trainable | None:
        learned = super().finish(network, trainable, past)
        used = Mask.union((state.mask for state in past.states), network.shapes)
        free = learned.mask - used if self.exclusive else learned.mask
        if not free.count():
            return None
        places = {
            name: free[name].flatten().nonzero().flatten().to(network.device) for name, n in free.counts().items() if n
        }
        vectors = {name: network.weights[name].flatten()[place] for name, place in places.items()}
        fixed = {name: network.weights[name] * learned.mask[name].to(network.device) for name in free}
        parameters = trainable_on(network, {**vectors, **learned.dense}).parameters
        return _Weights(parameters, trainable.buffers, learned=learned, trained=free, places=places, fixed=fixed)

    def effective(self, network: Network, trainable: Trainable) -> dict[str, Tensor]:
        if not isinstance(trainable, _Weights):
            return super().effective(network, trainable)
        weights = {
            name: whole.flatten().index_copy(0, trainable.places[name], trainable.parameters[name]).view(whole.shape)
            if name in trainable.places
            else whole
            for name, whole in trainable.fixed.items()
        }
        return {**trainable.parameters, **weights, **trainable.buffers}

    def finish(self, network: Network, trainable: Trainable, past: Past) -> Learned:
        if not isinstance(trainable, _Weights):
            return super().finish(network, trainable, past)
        found, trained = trainable.learned, trainable.trained
        values = {name: trainable.parameters.get(name, torch.empty(0)) for name in trained}
        owned = Owned.of(trained, network.base_weights, values, self.precision)
        return replace(found, dense={name: trainable.parameters[name] for name in found.dense}, owned=owned)
