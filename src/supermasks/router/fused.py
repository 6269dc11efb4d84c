"""The router, the masks and the gradient together, weighed by what held-out inputs have shown."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from supermasks.arithmetic import computing_in
from supermasks.errors import ConfigError
from supermasks.inference import OneShot, TaskInference
from supermasks.inference.task_inference import decide
from supermasks.router.linear_discriminant import LinearDiscriminant
from supermasks.spec import Settings
from supermasks.superposition import Superposition
from supermasks.types import Belief

STEPS = 100
"""The most steps of the optimiser that fits the weights."""

PENALTY = 1e-3
"""Of the squared weights, so that evidence that is never wrong does not get an infinite one."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """What several sources say of the classes of the tasks that the router lists.

    Attributes:
        first: the belief of the router.
        lists: the listed tasks of each input, `inputs x listed`.
        terms: `sources x inputs x listed x classes`; 0 where there is no such class.
        real: whether the task has such a class, with examples, `inputs x listed x classes`. A class without training
            examples is nowhere for the router.
    """

    first: Belief
    lists: Tensor
    terms: Tensor
    real: Tensor

    def scores(self, weights: Sequence[float]) -> Tensor:
        """Return the weighted sum of each class, `inputs x listed x classes`; `-inf` where there is no such class."""
        with computing_in(torch.float32, self.terms.device):
            total = torch.einsum("s,snlc->nlc", torch.tensor(weights, dtype=self.terms.dtype), self.terms)
        return total.masked_fill(~self.real, -torch.inf)

    def chosen(self, weights: Sequence[float]) -> tuple[Tensor, Tensor]:
        """Return the task that a weighted sum chooses, and the class in it, `inputs` each."""
        scores = self.scores(weights)
        best = scores.logsumexp(dim=2).argmax(dim=1)
        rows = torch.arange(len(scores))
        return self.lists[rows, best], scores[rows, best].argmax(dim=1)

    def labels(self, tasks: Tensor) -> Tensor:
        """Return the class that the mask of a task gives each input, `inputs`; -1 if the task is not listed."""
        listed, rows = self.lists == tasks[:, None], torch.arange(len(tasks))
        place = listed.long().argmax(dim=1)
        masks = self.terms[1].masked_fill(~self.real, -torch.inf)
        return torch.where(listed.any(dim=1), masks[rows, place].argmax(dim=1), -1)

    @staticmethod
    def joined(parts: Sequence["Evidence"]) -> "Evidence":
        """Return the evidence of all inputs from that of several batches."""
        return Evidence(
            Belief.joined([part.first for part in parts]),
            torch.cat([part.lists for part in parts]),
            torch.cat([part.terms for part in parts], dim=1),
            torch.cat([part.real for part in parts]),
        )

    def of(self, rows: Tensor) -> "Evidence":
        """Return the evidence of some of the inputs; the belief stays that of all."""
        return replace(self, lists=self.lists[rows], terms=self.terms[:, rows], real=self.real[rows])


@dataclass(frozen=True, kw_only=True)
class Fused(TaskInference):
    """Choose task and class by a weighted sum of evidence, among the tasks that the router lists.

        score(task, class) = w_1 log p_router(x, task, class) + w_2 log p_mask(class | x) + w_3 g(task)

    `p_router` is that of the linear discriminants; `p_mask` is the softmax over all outputs with the mask of the task,
    superfluous neurons included; `g` is the evidence of a gradient, over its standard deviation among the listed tasks.
    The evidence of a task is the logarithm of the sum of `exp(score)` over its classes. If no source with a weight
    tells classes apart, it is the score of one class, and the mask of the chosen task gives the label.

    Attributes:
        router: lists tasks.
        gradient: a further source; None for none.
        weights: of router, masks and gradient, 0 or more. `fitted_weights` finds those of largest likelihood.
        listed: how many tasks are listed.

    Raises:
        ConfigError: there are not three weights of 0 or more, or fewer than 2 tasks are listed.

    Example:
        >>> Fused(weights=(1.0, 0.5, 0.0)).listed
        8
    """

    router: LinearDiscriminant = field(default_factory=LinearDiscriminant)
    gradient: OneShot | None = None
    weights: tuple[float, ...] = (1.0, 1.0, 1.0)
    listed: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.weights) != 3 or not all(0 <= weight < float("inf") for weight in self.weights):
            raise ConfigError(
                f"expected weights of 0 or more for the router, the masks and the gradient, got {self.weights}"
            )
        if self.listed < 2:
            raise ConfigError(f"listed must be at least 2 tasks, got {self.listed}")

    @property
    def statistics(self) -> Settings | None:
        return self.router.statistics

    @property
    def comparable(self) -> bool:
        return True

    def infer(self, superposition: Superposition, inputs: Tensor) -> Belief:
        belief = self.infer_each(superposition, inputs)
        if len(inputs) == 1:
            return belief
        each = belief.evidence
        least = each.masked_fill(each.isinf(), torch.inf).amin(dim=1, keepdim=True)
        return decide(superposition, torch.where(each.isinf(), least, each).mean(dim=0, keepdim=True), blank=False)

    def infer_each(self, superposition: Superposition, inputs: Tensor) -> Belief:
        found = self.evidence(superposition, inputs)
        scores = found.scores(self.weights)
        of_tasks = scores.logsumexp(dim=2) if self._tells_classes else scores.amax(dim=2)
        evidence = torch.full_like(found.first.evidence, -torch.inf).scatter_(1, found.lists, of_tasks)
        belief = replace(decide(superposition, evidence, blank=False), strangeness=found.first.strangeness)
        if not self._tells_classes:
            return belief
        place = (found.lists == belief.chosen[:, None]).long().argmax(dim=1)
        classes = scores[torch.arange(len(scores)), place]
        return replace(belief, classes=classes)

    @property
    def _tells_classes(self) -> bool:
        """Whether the score of a class is its own: by its mask, or by a router with a mean for each class."""
        return self.weights[1] > 0 or (self.weights[0] > 0 and self.router.per == "class")

    def evidence(self, superposition: Superposition, inputs: Tensor) -> Evidence:
        """Return what each source says of the classes of the listed tasks."""
        first, joint, of = self.router.believed(superposition, inputs)
        lists = first.evidence.sort(dim=1, descending=True, stable=True).indices[:, : self.listed]
        counts = torch.tensor([len(state.classes) for state in superposition.states])
        real = torch.arange(superposition.classes) < counts[lists][:, :, None]
        terms = torch.zeros(3, *real.shape, dtype=torch.float32)
        network = superposition.network
        for i in lists.unique().tolist():
            rows, places = (lists == i).nonzero(as_tuple=True)
            classes = int(counts[i])
            terms[0, rows, places, :classes] = joint[rows][:, of == i]  # one column stands for all classes
            if self.weights[1]:
                with torch.no_grad():
                    logits = network.forward(inputs[rows], superposition.member(i)).cpu()
                terms[1, rows, places, :classes] = logits.log_softmax(dim=1)[:, :classes]
        real &= ~terms[0].isneginf()
        terms[0] -= first.evidence.amax(dim=1)[:, None, None]
        if self.gradient is not None and self.weights[2]:
            told = self.gradient.infer_each(superposition, inputs).evidence.gather(1, lists)
            spread = told.std(dim=1, keepdim=True, correction=0)
            told = torch.where(spread > 0, (told - told.amax(dim=1, keepdim=True)) / spread, 0.0)
            terms[2] = told[:, :, None].expand_as(terms[2])
        return Evidence(first, lists, terms.masked_fill(~real, 0.0), real)


def fitted_weights(found: Evidence, tasks: Tensor, classes: Tensor) -> tuple[float, ...]:
    """Return the weights, 0 or more, that make the right classes of the right tasks most probable.

    Args:
        found: about held-out inputs.
        tasks: the index of the right task of each input, `inputs`; inputs whose task is not listed do not count.
        classes: the index of the right class in that task, `inputs`; inputs whose class is not real do not count.
    """
    which = classes[:, None, None].expand(-1, found.lists.shape[1], 1)
    counts = (found.lists == tasks[:, None]) & found.real.gather(2, which)[:, :, 0]
    rows, places = counts.nonzero(as_tuple=True)
    terms, real = found.terms[:, rows].double(), found.real[rows]
    scale = (terms.square().sum(dim=(1, 2, 3)) / max(1, int(real.sum()))).sqrt()
    used = scale > 0
    terms = terms / torch.where(used, scale, 1.0)[:, None, None, None]
    cells = places * real.shape[2] + classes[rows]
    with torch.inference_mode(False), torch.enable_grad():
        terms, cells = terms.clone(), cells.clone()
        roots = torch.full((len(terms),), 0.5, dtype=torch.float64, requires_grad=True)  # weights are their squares
        optimiser = torch.optim.LBFGS([roots], max_iter=STEPS, line_search_fn="strong_wolfe")

        def loss() -> Tensor:
            optimiser.zero_grad()
            weights = roots.square()
            scores = torch.einsum("s,snlc->nlc", weights, terms).masked_fill(~real, -torch.inf).flatten(1)
            right = scores.log_softmax(dim=1).gather(1, cells[:, None])
            value = -right.mean() + PENALTY * weights.square().mean()
            value.backward()
            return value

        if len(rows):
            optimiser.step(loss)
    return tuple((roots.detach().square() / torch.where(used, scale, 1.0) * used).tolist())
