"""SupSup: the weights stay as they are, the scores of a mask are trained."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from supermasks.masks import Mask, MaskRule, Threshold
from supermasks.methods.method import Learned, Method, Trainable, initial_head, trainable_on
from supermasks.network import Network
from supermasks.scores import InitialScores, KaimingUniform, Past
from supermasks.types import Task


@dataclass(frozen=True)
class SupSup(Method):
    """Learn one supermask a task: effective weights `W * h(S)`, with trained scores `S` (SupSup, Equation 1).

    Where the network has a head, the task trains its own beside the mask.

    Attributes:
        rule: the function `h` from scores to mask.
        initial: what the scores begin with; a mean over earlier tasks is SupSup's Transfer (Appendix D.5).
    """

    rule: MaskRule = field(default_factory=Threshold)
    initial: InitialScores = field(default_factory=KaimingUniform)

    @property
    def builds_on_past(self) -> bool:
        return self.writes or self.initial.uses_past

    def check(self, network: Network) -> None:
        self.rule.densities(network.shapes)

    def begin(self, network: Network, task: Task, seed: int, past: Past) -> Trainable:
        self.check(network)
        scores = self.initial.scores(network.shapes, task.name, seed, past)
        return trainable_on(network, {**scores, **initial_head(network, task, seed)})

    def effective(self, network: Network, trainable: Trainable) -> dict[str, Tensor]:
        scores = {name: trainable.parameters[name] for name in network.weights}
        masked = self.rule.masked(network.weights, scores)
        return {**trainable.parameters, **masked, **trainable.buffers}

    def finish(self, network: Network, trainable: Trainable, past: Past) -> Learned:
        scores = {name: trainable.parameters[name].detach().cpu() for name in network.weights}
        with torch.no_grad():
            mask = Mask.pack({name: mask > 0.5 for name, mask in self.rule.masks(scores).items()})
        head = {name: value for name, value in trainable.parameters.items() if name not in scores}
        return Learned(mask, head, self.initial.remembered(scores, past))
