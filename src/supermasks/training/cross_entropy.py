"""The loss of a task: cross-entropy, with optional class weights and label smoothing."""

from dataclasses import dataclass

import torch
from torch import Tensor

from supermasks.errors import ConfigError
from supermasks.methods import Criterion
from supermasks.training.settings import Training
from supermasks.types import Task


@dataclass(frozen=True, eq=False)
class CrossEntropy:
    """The mean cross-entropy over all outputs, superfluous neurons included.

    With weights `w`, smoothing `s` and `C` classes, the loss of an example of class `y` is

        (1 - s) w_y (-log p_y) + s / C * sum_c w_c (-log p_c)

    and the mean is the sum divided by `sum w_y`, as in `torch.nn.CrossEntropyLoss`. Here `c` runs only over the classes
    of the task, so smoothing does not make superfluous neurons likelier.

    Attributes:
        table: `classes x classes`, the factors of `-log p_c` (columns) for an example of a class (rows); None without
            class weights and smoothing.
        weights: `classes`; None if `table` is None.

    Example:
        >>> CrossEntropy(None, None).mean(torch.zeros(2, 4), torch.tensor([0, 1]))  # log 4
        tensor(1.3863)
    """

    table: Tensor | None
    weights: Tensor | None

    @classmethod
    def of(cls, task: Task, settings: Training, device: torch.device) -> "CrossEntropy":
        """Return the cross-entropy of a task.

        Raises:
            ConfigError: the numbers of class weights and classes differ.
        """
        if settings.class_weights is None and not settings.label_smoothing:
            return cls(None, None)
        classes = len(task.classes)
        weights = _weights(task, settings).to(device, torch.float32)
        smoothing = settings.label_smoothing
        table = (1 - smoothing) * weights.diag() + smoothing / classes * weights.expand(classes, classes)
        return cls(table, weights)

    def mean(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss of examples, a scalar in nats."""
        return mean_loss(logits, targets, self.table, self.weights)

    def of_part(self, part: Tensor, batch: Tensor) -> Criterion:
        """Return the loss of a part of a batch, scaled so that the mean over all examples is that of the batch.

        With class weights, a part counts by the weights of its examples, and not by their number. Other terms of a loss
        count by the number.

        Args:
            part: the targets of the part.
            batch: the targets of the batch.
        """
        if self.weights is None or len(part) == len(batch):
            return self.mean
        part, batch = part.to(self.weights.device), batch.to(self.weights.device)
        scale = self.weights[part].mean() / self.weights[batch].mean()
        return lambda logits, targets: scale * self.mean(logits, targets)


def mean_loss(logits: Tensor, targets: Tensor, table: Tensor | None, weights: Tensor | None) -> Tensor:
    """Return the mean loss of logits, `batch x outputs`, for the table and weights of a `CrossEntropy`."""
    if table is None or weights is None:
        return torch.nn.functional.cross_entropy(logits, targets)
    costs = -logits.log_softmax(dim=1)[:, : table.shape[1]]
    return (table[targets] * costs).sum() / weights[targets].sum()


def stacked(losses: list[CrossEntropy]) -> tuple[Tensor, Tensor] | tuple[None, None]:
    """Return the tables and weights of several tasks, `tasks x ...`, padded with 0 to the most classes."""
    tables = [one.table for one in losses if one.table is not None]
    weights = [one.weights for one in losses if one.weights is not None]
    if not tables:
        return None, None
    most, pad = max(map(len, weights)), torch.nn.functional.pad
    return (
        torch.stack([pad(table, (0, most - len(table), 0, most - len(table))) for table in tables]),
        torch.stack([pad(weight, (0, most - len(weight))) for weight in weights]),
    )


def _weights(task: Task, settings: Training) -> Tensor:
    """Return the weight of each class, `classes`; 0 for classes without examples if balanced."""
    classes = len(task.classes)
    if settings.class_weights is None:
        return torch.ones(classes, dtype=torch.float32)
    if settings.class_weights == "balanced":
        counts = task.train.targets.bincount(minlength=classes).double()
        weights = len(task.train) / (int((counts > 0).sum()) * counts)
        return torch.where(counts > 0, weights, 0.0)
    if len(settings.class_weights) != classes:
        raise ConfigError(
            f"class_weights must have one weight for each of the {classes} classes of task {task.name!r}, got "
            f'{len(settings.class_weights)}; use "balanced", which fits all tasks'
        )
    return torch.tensor(settings.class_weights, dtype=torch.float64)
