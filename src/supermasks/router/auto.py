"""The inference that held-out inputs speak for."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import sqrt
from typing import NamedTuple

import torch
from torch import Tensor

from supermasks.errors import SupermasksError
from supermasks.inference import Entropy, Exhaustive, OneShot, TaskInference
from supermasks.inference.task_inference import Choice
from supermasks.router.fused import Evidence, Fused, fitted_weights
from supermasks.router.linear_discriminant import LinearDiscriminant
from supermasks.spec import Settings
from supermasks.superposition import Superposition
from supermasks.types import Belief


@dataclass(frozen=True, kw_only=True)
class Auto(TaskInference):
    """Recognise tasks by the router, until held-out inputs show what is better (`Learner.calibrate`).

    `calibrate` tries the router; the router and the masks together, without and with a gradient (`Fused`); and each of
    the others. The weights are fitted on one half of the held-out inputs, and all are compared on the other half.
    `calibrate` takes the first one that finds the right class of the right task as often as the best one, within one
    standard error.

    Attributes:
        router: needs no masks, and lists the tasks that the others compare.
        others: inferences that use the network with masks.
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

    def settled(
        self, superposition: Superposition, inputs: Tensor, tasks: Tensor, classes: Tensor, chunk: int = 1000
    ) -> Choice:
        if not 1 < len(superposition) <= self.most:
            few = f"there are more than {self.most} tasks"
            others = (Fused(), *self.others) if len(superposition) > 1 else ()
            return Choice(self.router, skipped={name_of(other): few for other in others})
        if len(inputs) < 2:
            few = "one held-out input is too few to compare"
            return Choice(self.router, skipped={name_of(other): few for other in (Fused(), *self.others)})
        skipped, judging = dict[str, str](), torch.arange(len(inputs)) % 2 == 1
        parts = inputs.split(chunk)

        def evidence(fused: Fused) -> Evidence:
            return Evidence.joined([fused.evidence(superposition, part) for part in parts])

        found = evidence(Fused(router=self.router, listed=self.listed))
        tries = {name_of(self.router): _Try(self.router, found.first.chosen, found.labels(found.first.chosen))}
        for gradient in (None, *(other for other in self.others if isinstance(other, OneShot))):
            fused = Fused(router=self.router, gradient=gradient, listed=self.listed)
            try:
                every = found if gradient is None else evidence(fused)
            except SupermasksError as error:  # such as tasks whose heads cannot be mixed
                skipped[name_of(fused)] = str(error)
                continue
            weights = fitted_weights(every.of(~judging), tasks[~judging], classes[~judging])
            final = replace(fused, weights=fitted_weights(every, tasks, classes))
            tries[name_of(fused)] = _Try(final, *every.chosen(weights))
        for other in self.others:
            try:
                chosen = torch.cat([other.infer_each(superposition, part).chosen for part in parts])
            except SupermasksError as error:
                skipped[name_of(other)] = str(error)
                continue
            tries[name_of(other)] = _Try(other, chosen, found.labels(chosen))
        return _best(tries, tasks[judging], classes[judging], judging, skipped)


class _Try(NamedTuple):
    """An inference, and the task and class that it gives each held-out input."""

    inference: TaskInference
    tasks: Tensor
    classes: Tensor


def _best(
    tries: Mapping[str, _Try], tasks: Tensor, classes: Tensor, judging: Tensor, skipped: Mapping[str, str]
) -> Choice:
    """Return the first try whose share of right classes is within one standard error of the best."""
    found = {name: each.tasks[judging] == tasks for name, each in tries.items()}
    right = {
        name: float((found[name] & (each.classes[judging] == classes)).double().mean()) for name, each in tries.items()
    }
    best = max(right.values())
    room = sqrt(best * (1 - best) / max(1, len(tasks)))
    chosen = next(each.inference for name, each in tries.items() if right[name] >= best - room)
    return Choice(chosen, {name: float(each.double().mean()) for name, each in found.items()}, skipped)


def name_of(inference: TaskInference) -> str:
    """Return a short name of an inference."""
    if isinstance(inference, Fused):
        return "Fused" if inference.gradient is None else f"Fused with {name_of(inference.gradient)}"
    objective = getattr(inference, "objective", None)
    return type(inference).__name__ + ("" if objective is None else f" by {type(objective).__name__}")
