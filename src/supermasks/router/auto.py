"""The inference that held-out inputs speak for."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import sqrt

import torch
from torch import Tensor

from supermasks.errors import SupermasksError
from supermasks.inference import Entropy, Exhaustive, OneShot, TaskInference
from supermasks.inference.task_inference import Choice
from supermasks.router.fused import Fused, chosen_of, fitted_weights
from supermasks.router.linear_discriminant import LinearDiscriminant
from supermasks.spec import Settings
from supermasks.superposition import Superposition
from supermasks.types import Belief


@dataclass(frozen=True, kw_only=True)
class Auto(TaskInference):
    """Recognise tasks by the router, until held-out inputs show what is better (`Learner.calibrate`).

    Tried are the router, each of the others among the tasks that the router lists, and all of them together (`Fused`).
    The weights are fitted on one half of the held-out inputs, and the tries are compared on the other half. The first
    one is taken whose share of tasks found is within one standard error of the best.

    Attributes:
        router: needs no masks, and lists the tasks that the others compare.
        others: ask the network with masks.
        listed: how many tasks are listed.
        most: with more tasks than these, the others are not tried, since a gradient for all tasks takes long.

    Example:
        >>> Auto().router.per
        'class'
    """

    router: LinearDiscriminant = field(default_factory=LinearDiscriminant)
    others: tuple[TaskInference, ...] = field(default_factory=lambda: (Exhaustive(Entropy()), OneShot(centred=True)))
    listed: int = 8
    most: int = 64

    @property
    def averages(self) -> bool:
        return True

    @property
    def statistics(self) -> Settings | None:
        return self.router.statistics

    @property
    def comparable(self) -> bool:
        return True

    def infer(self, superposition: Superposition, inputs: Tensor) -> Belief:
        return self.router.infer(superposition, inputs)

    def infer_each(self, superposition: Superposition, inputs: Tensor) -> Belief:
        return self.router.infer_each(superposition, inputs)

    def settled(self, superposition: Superposition, inputs: Tensor, right: Tensor) -> Choice:
        if len(superposition) == 1:
            return Choice(self.router)
        parts, skipped = list[TaskInference]([self.router]), dict[str, str]()
        for other in self.others:
            if len(superposition) > self.most:
                skipped[name_of(other)] = f"there are more than {self.most} tasks"
                continue
            try:
                other.infer_each(superposition, inputs[:2])
                parts.append(other)
            except SupermasksError as error:  # such as tasks whose heads cannot be mixed
                skipped[name_of(other)] = str(error)
        return self._best(tuple(parts), superposition, inputs, right, skipped)

    def _best(
        self,
        parts: tuple[TaskInference, ...],
        superposition: Superposition,
        inputs: Tensor,
        right: Tensor,
        skipped: dict[str, str],
    ) -> Choice:
        even = Fused(parts=parts, weights=(1.0,) * len(parts), listed=self.listed)
        lists, z, _ = even.compared(superposition, inputs)
        fitting = torch.arange(len(inputs)) % 2 == 0
        judging = ~fitting if len(inputs) > 1 else fitting
        tries: list[tuple[str, TaskInference, tuple[float, ...]]] = [
            (name_of(self.router), self.router, _only(0, parts))
        ]
        if len(parts) > 1:
            weights = fitted_weights(z[:, fitting], lists[fitting], right[fitting])
            final = replace(even, weights=fitted_weights(z, lists, right))
            tries.append(("Fused", final, weights))
        for i, part in enumerate(parts[1:], start=1):
            weights = _only(i, parts)
            tries.append((name_of(part), replace(even, weights=weights), weights))
        shares = {
            name: float((chosen_of(z, lists, weights)[judging] == right[judging]).double().mean())
            for name, _, weights in tries
        }
        best = max(shares.values())
        room = sqrt(max(best * (1 - best), 1e-12) / int(judging.sum()))
        _, inference, _ = next(each for each in tries if shares[each[0]] >= best - room)
        return Choice(inference, shares, skipped)


def _only(index: int, parts: Sequence[TaskInference]) -> tuple[float, ...]:
    return tuple(float(i == index) for i in range(len(parts)))


def name_of(inference: TaskInference) -> str:
    """Return a short name of an inference."""
    objective = getattr(inference, "objective", None)
    return type(inference).__name__ + ("" if objective is None else f" by {type(objective).__name__}")
