"""Individually trained networks: what masks are compared with, the upper bound in accuracy and in bytes."""

from dataclasses import dataclass

from torch import Tensor

from supermasks.methods.method import NO_MASK, Learned, Method, Trainable, initial_head, trainable_on
from supermasks.network import Network
from supermasks.scores import Past
from supermasks.types import Task


@dataclass(frozen=True)
class Individual(Method):
    """Train all maskable weights anew for each task, and keep them all (SupSup, Section 4.1, "Upper Bound").

    Over a pretrained base this is fine-tuning. Each task starts from the base or, if warm, from the task learned
    before, so that the weights for task `i` were trained on tasks `1..i`.

    Attributes:
        warm: start from the weights of the task before, as the paper's upper bound does.
    """

    warm: bool = False

    @property
    def builds_on_past(self) -> bool:
        return self.warm

    def begin(self, network: Network, task: Task, seed: int, past: Past) -> Trainable:
        # Also after a task with a mask: from the weights that it computes with.
        start = network.effective(past.states[-1]) if self.warm and past.states else network.weights
        weights = {name: start[name].clone() for name in network.weights}
        return trainable_on(network, {**weights, **initial_head(network, task, seed)})

    def effective(self, network: Network, trainable: Trainable) -> dict[str, Tensor]:
        return {**trainable.parameters, **trainable.buffers}

    def finish(self, network: Network, trainable: Trainable, past: Past) -> Learned:
        return Learned(NO_MASK, trainable.parameters)
