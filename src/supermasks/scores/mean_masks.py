"""Transfer as in SupSup's text: begin with the mean of all earlier masks."""

from dataclasses import dataclass
from math import prod, sqrt

import torch
from torch import Tensor

from supermasks.scores.entries import entries_of
from supermasks.scores.fresh import KaimingUniform
from supermasks.scores.initial import InitialScores, Past
from supermasks.types import Shapes


@dataclass(frozen=True)
class MeanOfMasks(InitialScores):
    """`S = sqrt(2 / fan_in) * mean_j M_j` over all earlier tasks `j`; the first task begins at random (Appendix D.5).

    Where a mask flips a weight (`SignedMasks`), `M_j` is -1. Tasks whose weights are dense do not count. No memory is
    needed: the masks are in the bank.

    Example:
        >>> from supermasks.changes import Masked
        >>> from supermasks.masks import Mask
        >>> from supermasks.state import TaskState
        >>> from supermasks.task_info import TaskInfo
        >>> masks = [Mask.pack({"w": torch.tensor([[True, kept]])}) for kept in (False, True)]
        >>> states = [TaskState(TaskInfo("t", (0,), (2,)), Masked.of(mask)) for mask in masks]
        >>> MeanOfMasks().scores({"w": (1, 2)}, "third", 0, Past(states))["w"]
        tensor([[1.0000, 0.5000]])
    """

    def scores(self, shapes: Shapes, task: str, seed: int, past: Past) -> dict[str, Tensor]:
        result = KaimingUniform().scores(shapes, task, seed, past)
        states = list(past.states)
        for name, shape in shapes.items():
            total, count = torch.zeros(shape, dtype=torch.float32), 0
            for state in states:
                entries = entries_of(state, name)
                if entries is not None:
                    total, count = total.add_(entries), count + 1
            if count:
                result[name] = total * (sqrt(2 / prod(shape[1:])) / count)
        return result
