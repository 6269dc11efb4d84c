"""KKT: begin with the mask of the nearest earlier task."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from supermasks.errors import ConfigError
from supermasks.scores.entries import entries_of
from supermasks.scores.fresh import KaimingUniform
from supermasks.scores.initial import InitialScores, Past
from supermasks.seeding import generator
from supermasks.types import Shapes


@dataclass(frozen=True)
class KKT(InitialScores):
    """KNN-based knowledge transfer (ExSSNeT, Section 3.2).

    Each earlier task computes logits of some training examples of the new task. Two thirds of the examples serve as
    neighbours that classify the other third. The task with the highest accuracy is the nearest. If it beats chance, the
    new mask begins as its mask: scores are drawn as in `KaimingUniform`, then made positive and large where the mask
    keeps the weight, negative and small elsewhere. Where it flips the weight (`SignedMasks`) they become negative and
    large. Otherwise, and for the first task, they are those of `KaimingUniform`. Earlier tasks do not change, and
    nothing is stored beside the bank.

    Attributes:
        neighbours: the number of nearest neighbours that vote; ties go to the lower class index.
        examples: the number of training examples used; the paper uses 10 batches of 64.
        candidates: the largest number of earlier tasks to try, drawn at random; None tries all. With a limit, the cost
            of a new task does not grow with the number of tasks.

    Raises:
        ConfigError: neighbours or candidates are below 1, or examples below 3.

    Example:
        >>> KKT().nearest("first", seed=0, past=Past()) is None  # no earlier task
        True
    """

    neighbours: int = 10
    examples: int = 640
    candidates: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.neighbours < 1 or self.examples < 3 or (self.candidates is not None and self.candidates < 1):
            raise ConfigError(
                "KKT needs at least 1 neighbour, 3 examples and 1 candidate, got "
                f"{self.neighbours}, {self.examples} and {self.candidates}"
            )

    def scores(self, shapes: Shapes, task: str, seed: int, past: Past) -> dict[str, Tensor]:
        fresh, nearest = KaimingUniform().scores(shapes, task, seed, past), self.nearest(task, seed, past)
        if nearest is None:
            return fresh
        scores = dict[str, Tensor]()
        for name, value in fresh.items():
            entries = entries_of(past.states[nearest], name)
            if entries is None:
                scores[name] = value
                continue
            small = value.abs() / 2
            large = value.abs().max() / 2 + small
            scores[name] = torch.where(entries > 0, large, torch.where(entries < 0, -large, -small))
        return scores

    def nearest(self, task: str, seed: int, past: Past) -> int | None:
        """Return the index of the nearest earlier task; None if no task beats chance."""
        accuracies, chance = self.accuracies(task, seed, past)
        if not accuracies:
            return None
        best = max(accuracies, key=lambda index: accuracies[index])
        return best if accuracies[best] > chance else None

    def accuracies(self, task: str, seed: int, past: Past) -> tuple[dict[int, float], float]:
        """Return the accuracy of each earlier task, by its index, and the accuracy of chance.

        Chance always predicts the most frequent class of the examples.

        Raises:
            ConfigError: the past has tasks, but no examples or logits to compare them by.
        """
        examples, logits = past.examples, past.logits
        if not past.states:
            return {}, 1.0
        if examples is None or logits is None:
            raise ConfigError(
                "KKT compares earlier tasks on examples of the new task, got a Past without examples or logits; set "
                "both, as Learner.learn does"
            )
        if len(examples) < 3:
            return {}, 1.0
        random = generator(seed, "kkt", task)
        rows = torch.from_numpy(random.permutation(len(examples))[: self.examples])
        inputs, targets = examples.batch(rows)
        targets = targets.cpu()
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
            features = logits(inputs, past.states[index]).float().cpu()
            answers = classify_by_neighbours(features[:known], targets[:known], features[known:], self.neighbours)
            found[index] = float((answers == targets[known:]).float().mean())
        frequencies = np.bincount(targets.numpy())
        return found, float(frequencies.max() / len(targets))


def classify_by_neighbours(known: Tensor, classes: Tensor, unknown: Tensor, neighbours: int) -> Tensor:
    """Return the most frequent class among the nearest known points, by Euclidean distance.

    Args:
        known: `points x features`.
        classes: `points`, from 0.
        unknown: `queries x features`.
        neighbours: how many points vote; all if there are fewer.

    Returns:
        `queries`, int64; ties go to the lowest class.

    Example:
        >>> points, classes = torch.tensor([[0.0], [1.0], [9.0]]), torch.tensor([0, 0, 1])
        >>> classify_by_neighbours(points, classes, torch.tensor([[0.4], [8.0]]), neighbours=1)
        tensor([0, 1])
    """
    # Not by matrix products: they lose small differences beside a large common part.
    distances = torch.cdist(unknown, known, compute_mode="donot_use_mm_for_euclid_dist")
    nearest = distances.topk(min(neighbours, len(known)), largest=False, sorted=False).indices
    votes = torch.nn.functional.one_hot(classes)[nearest].sum(dim=1)
    return votes.argmax(dim=1)
