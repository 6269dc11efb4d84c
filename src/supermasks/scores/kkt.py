"""KKT: begin with the mask of the earlier task whose answers say most about the new one."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from supermasks.errors import ConfigError
from supermasks.scores.fresh import KaimingUniform
from supermasks.scores.initial import InitialScores, Past, Shapes
from supermasks.seeding import stream


@dataclass(frozen=True)
class KKT(InitialScores):
    """KNN-based knowledge transfer (ExSSNeT, Section 3.2).

    Each earlier task computes logits of some training examples of the new task. Those of two thirds of the examples
    are the neighbours by which the other third is classified; the task with the highest accuracy is the nearest. If
    it beats chance, the scores are such that the new mask begins as that task's mask: random as `KaimingUniform`, but
    positive, and their magnitudes above the median, where the mask keeps the weight, negative and below it elsewhere.
    Otherwise, and for the first task, they are those of `KaimingUniform`. No earlier task is touched, and nothing is
    remembered beside the bank.

    Attributes:
        neighbours: the `k` nearest vote; of equal votes the class with the lower number wins.
        examples: how many training examples are looked at; the paper takes 10 batches of 64.
        candidates: at most so many earlier tasks are tried, drawn at random; None for all. What a new task costs
            does not grow with the number of tasks where this is set.

    Raises:
        ConfigError: a number is below 1, or there are fewer than 3 examples.
    """

    neighbours: int = 10
    examples: int = 640
    candidates: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.neighbours < 1 or self.examples < 3 or (self.candidates is not None and self.candidates < 1):
            raise ConfigError(
                "the nearest task is found with at least 1 neighbour, 3 examples and 1 candidate, but "
                f"{self.neighbours}, {self.examples} and {self.candidates} came"
            )

    def scores(self, shapes: Shapes, task: str, seed: int, past: Past) -> dict[str, Tensor]:
        fresh, nearest = KaimingUniform().scores(shapes, task, seed, past), self.nearest(task, seed, past)
        if nearest is None:
            return fresh
        mask, scores = past.states[nearest].mask, dict[str, Tensor]()
        for name, value in fresh.items():
            if name not in mask:  # that task has this parameter dense
                scores[name] = value
                continue
            magnitude, half = value.abs() / 2, value.abs().max() / 2
            scores[name] = torch.where(mask[name], half + magnitude, -magnitude)
        return scores

    def nearest(self, task: str, seed: int, past: Past) -> int | None:
        """Return the index of the earlier task that the new one begins with; None if none is better than chance."""
        accuracies, chance = self.accuracies(task, seed, past)
        if not accuracies:
            return None
        best = max(accuracies, key=lambda index: accuracies[index])
        return best if accuracies[best] > chance else None

    def accuracies(self, task: str, seed: int, past: Past) -> tuple[dict[int, float], float]:
        """Return the accuracy of the neighbours in the answers of each earlier task, by its index, and that of chance.

        Chance is always to say the class that is most frequent in the examples.

        Raises:
            ConfigError: there are earlier tasks, but not what they are compared by.
        """
        examples, logits = past.examples, past.logits
        if not past.states:
            return {}, 1.0
        if examples is None or logits is None:
            raise ConfigError(
                "KKT compares earlier tasks on examples of the new one; give the Past its examples and logits, as "
                "Learner.learn does"
            )
        if len(examples) < 3:
            return {}, 1.0
        random = stream(seed, "kkt", task)
        rows = torch.from_numpy(random.permutation(len(examples))[: self.examples])
        inputs, targets = examples.batch(rows)
        fitting = [
            index
            for index, state in enumerate(past.states)
            if state.input_shape == tuple(inputs.shape[1:]) and state.input_dtype == inputs.dtype
        ]
        if self.candidates is not None and len(fitting) > self.candidates:
            fitting = sorted(random.choice(fitting, self.candidates, replace=False).tolist())
        known = len(rows) * 2 // 3
        found: dict[int, float] = {}
        for index in fitting:
            features = logits(inputs, past.states[index]).float()
            answers = classify_by_neighbours(features[:known], targets[:known], features[known:], self.neighbours)
            found[index] = float((answers == targets[known:]).float().mean())
        frequencies = np.bincount(targets.numpy())
        return found, float(frequencies.max() / len(targets))


def classify_by_neighbours(known: Tensor, classes: Tensor, unknown: Tensor, neighbours: int) -> Tensor:
    """Return the class that most of the nearest known points have, in Euclidean distance.

    Args:
        known: `points x features`.
        classes: `points`, from 0.
        unknown: `queries x features`.
        neighbours: how many vote, or all where there are fewer points.

    Returns:
        `queries`; of equal votes the lowest class.

    Example:
        >>> points, classes = torch.tensor([[0.0], [1.0], [9.0]]), torch.tensor([0, 0, 1])
        >>> classify_by_neighbours(points, classes, torch.tensor([[0.4], [8.0]]), neighbours=1)
        tensor([0, 1])
    """
    # Not by matrix products, which lose what is small beside a part that all points have in common.
    distances = torch.cdist(unknown, known, compute_mode="donot_use_mm_for_euclid_dist")
    nearest = distances.topk(min(neighbours, len(known)), largest=False, sorted=False).indices
    votes = torch.nn.functional.one_hot(classes)[nearest].sum(dim=1)
    return votes.argmax(dim=1)
