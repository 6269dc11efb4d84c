"""Transfer as in SupSup's released code: begin with the mean of all earlier scores."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from supermasks.scores.fresh import KaimingUniform
from supermasks.scores.initial import InitialScores, Past
from supermasks.types import Shapes

COUNT, MEAN = "count", "mean/"


@dataclass(frozen=True)
class MeanOfScores(InitialScores):
    """`S = mean_j S_j` over the trained scores of all earlier tasks `j`; the first task begins at random.

    A learned task has no scores, so the bank keeps their running mean: 4 bytes a weight in all, needed only to learn
    more tasks.

    Example:
        >>> past = Past(memory=MeanOfScores().remembered({"w": torch.tensor([2.0])}, Past()))
        >>> past = Past(memory=MeanOfScores().remembered({"w": torch.tensor([4.0])}, past))
        >>> MeanOfScores().scores({"w": (1,)}, "third", 0, past)["w"]
        tensor([3.])
    """

    def scores(self, shapes: Shapes, task: str, seed: int, past: Past) -> dict[str, Tensor]:
        if not all(MEAN + name in past.memory for name in shapes):
            return KaimingUniform().scores(shapes, task, seed, past)
        return {name: past.memory[MEAN + name].clone() for name in shapes}

    def remembered(self, scores: Mapping[str, Tensor], past: Past) -> dict[str, Tensor]:
        count = past.memory[COUNT] + 1 if COUNT in past.memory else torch.ones((), dtype=torch.int64)
        mean: dict[str, Tensor] = {}
        for name, value in scores.items():
            before = past.memory.get(MEAN + name, torch.zeros_like(value))
            # A new tensor: an earlier task must keep the mean that it began with.
            mean[MEAN + name] = before + (value.detach() - before) / count
        return {COUNT: count, **mean}
