"""ExSSNeT and SSNeT: a supermask is found, and weights that it selects are trained."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from supermasks.errors import ConfigError
from supermasks.masks import Mask, MaskRule, TopK
from supermasks.methods.method import Learned, Trainable, trainable_on
from supermasks.methods.supsup import SupSup
from supermasks.network import Network
from supermasks.owned import PRECISIONS, Owned, Precision
from supermasks.scores import Past
from supermasks.types import Task

WEIGHTS = "weights of "
"""Begins the names of the vectors of weights under training; the names of their parameters follow."""


@dataclass(frozen=True, eq=False)
class _Weights(Trainable):
    """Weights under training, as one vector a parameter: what is not in it, no optimiser can move.

    Attributes:
        free: the positions of the weights in the vectors.
        places: their indices in the flattened parameters.
        found: what finding the mask has left; None while the mask is still under training, too.
        masked: the effective weights of what was found; none while the mask is still under training.
    """

    free: Mask = field(kw_only=True)
    places: Mapping[str, Tensor] = field(kw_only=True)
    found: Learned | None = field(kw_only=True)
    masked: Mapping[str, Tensor] = field(kw_only=True)

    @property
    def beside(self) -> dict[str, Tensor]:
        """What is trained beside the vectors: scores, a head."""
        return {name: value for name, value in self.parameters.items() if not name.startswith(WEIGHTS)}

    def put(self, whole: Tensor, name: str) -> Tensor:
        """Return the weights of a parameter with those under training in their places."""
        if name not in self.places:
            return whole
        return whole.flatten().index_copy(0, self.places[name], self.parameters[WEIGHTS + name]).view(whole.shape)


@dataclass(frozen=True)
class ExSSNeT(SupSup):
    """Find a supermask over the weights as earlier tasks left them, and train selected weights (ExSSNeT, Section 3).

    Task `i` learns `M_i` over `W^(i-1)`, then trains, inside of the subnetwork `W * M_i`, the weights of

        M_free = M_i - (M_1 | ... | M_(i-1))          exclusive (ExSSNeT)
        M_free = M_i                                  otherwise (SSNeT)

    and writes them into the network. Exclusive training changes no weight that an earlier task uses, so that none is
    forgotten; where no weight is free it is SupSup. SSNeT changes weights that earlier tasks use, and forgets.

    The paper trains first the mask and then the weights. Together, each step trains scores and those weights that no
    earlier task uses; what the mask keeps in the end is the task's. No step is lost to either, which is better at
    equal epochs.

    Attributes:
        rule: the function from scores to mask; the paper keeps 10% of each layer.
        initial: what the scores begin with.
        exclusive: train only weights that no earlier task uses.
        precision: in which the changes of the weights are kept: "float32", "float16", "int8" or "int4".
        together: train mask and weights in the same steps.
        mask_share: the share of the training in which the mask is found, where they are not trained together; the
            weights have the rest.

    Weights want larger steps than scores, `Training(weight_optimiser=)`: on photographs, for instance, Nesterov's with
    weight decay.

    Raises:
        ConfigError: the share is not between 0 and 1, or there is no such precision.
    """

    rule: MaskRule = field(default_factory=lambda: TopK(0.1))
    exclusive: bool = True
    precision: Precision = "float32"
    together: bool = False
    mask_share: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.mask_share < 1:
            raise ConfigError(f"masks have a share of the training between 0 and 1, but {self.mask_share} came")
        if self.precision not in PRECISIONS:
            raise ConfigError(
                f"the precision of weights is one of {', '.join(PRECISIONS)}, but {self.precision!r} came"
            )

    @property
    def stages(self) -> tuple[float, ...]:
        return (1.0,) if self.together else (self.mask_share, 1 - self.mask_share)

    @property
    def writes(self) -> bool:
        return True

    def begin(self, network: Network, task: Task, seed: int, past: Past) -> Trainable:
        trainable = super().begin(network, task, seed, past)
        if not self.together:
            return trainable
        every = Mask.pack({name: torch.ones(shape, dtype=torch.bool) for name, shape in network.shapes.items()})
        free = self._free(every, network, past)
        return self._training_weights(network, trainable, trainable.parameters, free, None)

    def following(self, network: Network, trainable: Trainable, past: Past) -> Trainable | None:
        found = super().finish(network, trainable, past)
        free = self._free(found.mask, network, past)
        return self._training_weights(network, trainable, found.dense, free, found) if free.count() else None

    def effective(self, network: Network, trainable: Trainable) -> dict[str, Tensor]:
        if not isinstance(trainable, _Weights) or not trainable.places:
            return super().effective(network, trainable)
        if trainable.found is None:
            masks = self.rule.masks({name: trainable.parameters[name] for name in network.weights})
            masked = {name: trainable.put(weight, name) * masks[name] for name, weight in network.weights.items()}
        else:
            masked = {name: trainable.put(weight, name) for name, weight in trainable.masked.items()}
        return {**trainable.beside, **masked, **trainable.buffers}

    def finish(self, network: Network, trainable: Trainable, past: Past) -> Learned:
        if not isinstance(trainable, _Weights):
            return super().finish(network, trainable, past)
        own = trainable.beside
        found = trainable.found or super().finish(network, Trainable(own, trainable.buffers), past)
        found = replace(found, dense={name: own[name] for name in found.dense})
        selected = found.mask & trainable.free
        if not selected.count():
            return found
        with torch.no_grad():
            weights = {name: trainable.put(weight, name).cpu() for name, weight in network.weights.items()}
        if all(torch.equal(weights[name], weight.cpu()) for name, weight in network.weights.items()):
            return found  # the mask alone was best on the validation examples
        values = {name: weights[name][selected[name]] for name in selected}
        owned = Owned.of(selected, network.base_weights, values, self.precision, self.exclusive)
        return replace(found, owned=owned)

    def _free(self, among: Mask, network: Network, past: Past) -> Mask:
        """Return which of these weights may be trained."""
        if not self.exclusive:
            return among
        return among - Mask.union((state.mask for state in past.states), network.shapes)

    def _training_weights(
        self,
        network: Network,
        trainable: Trainable,
        beside: Mapping[str, Tensor],
        free: Mask,
        found: Learned | None,
    ) -> _Weights:
        """Return the free weights as what is to be trained, beside other parameters."""
        places = {
            name: free[name].flatten().nonzero().flatten().to(network.device) for name, n in free.counts().items() if n
        }
        vectors = {WEIGHTS + name: network.weights[name].flatten()[place] for name, place in places.items()}
        parameters = trainable_on(network, {**beside, **vectors}).parameters
        detached = {name: value.detach().requires_grad_() for name, value in parameters.items()}
        masked = (
            {}
            if found is None
            else {name: weight * found.mask[name].to(network.device) for name, weight in network.weights.items()}
        )
        return _Weights(
            detached, trainable.buffers, tuple(vectors), free=free, places=places, found=found, masked=masked
        )
