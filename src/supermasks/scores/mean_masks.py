"""Transfer as in SupSup's text: begin with the mean of all earlier masks."""

from dataclasses import dataclass
from math import prod, sqrt

import torch
from torch import Tensor

from supermasks.scores.fresh import KaimingUniform
from supermasks.scores.initial import InitialScores, Past
from supermasks.types import Shapes


@dataclass(frozen=True)
class MeanOfMasks(InitialScores):
    """`S = sqrt(2 / fan_in) * mean_j M_j` over all earlier tasks `j`; the first task begins at random (Appendix D.5).

    Tasks whose weights are dense do not count. No memory is needed: the masks are in the bank.

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
        masks = [state.mask for state in past.states]
        for name, shape in shapes.items():
            masking = [mask[name] for mask in masks if name in mask]  # in other tasks it is dense
            if masking:
                total = torch.zeros(shape, dtype=torch.float32)
                for entries in masking:
                    total += entries.view(torch.uint8)
                result[name] = total * (sqrt(2 / prod(shape[1:])) / len(masking))
        return result
