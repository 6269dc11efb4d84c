"""List, then try: one gradient lists tasks, then each listed mask is tried."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from supermasks.errors import ConfigError
from supermasks.inference.exhaustive import tried
from supermasks.inference.objectives import Entropy, Objective
from supermasks.inference.one_shot import OneShot
from supermasks.inference.task_inference import TaskInference, decide, listed_tasks, uniform
from supermasks.superposition import Superposition
from supermasks.types import Belief


@dataclass(frozen=True)
class ListThenTry(TaskInference):
    """`Exhaustive` among the tasks that `OneShot` lists. Not in the paper.

    A gradient through a mixture says little about tasks of deep networks, since each mask only fits the outputs of its
    own earlier layers (docs/recognising.md). Trying every mask is more reliable, but its cost grows with the number of
    tasks. Here the cost is one gradient and `listed` forward passes. For at most `listed` tasks this is `Exhaustive`,
    and no gradient is taken.

    The gradient is centred (`OneShot.centred`). Among equals at the end of the list, tasks learned earlier are listed
    and the belief is marked as tied. The evidence is the negative objective of the listed tasks, and `-inf` for others.

    Attributes:
        objective: minimised by the right task.
        listed: the largest number of masks to try, at least 2.
        exact: whether the gradient compares all tasks by all weights; otherwise a shortlist of 8 tasks comes first, and
            only these are tried.

    Raises:
        ConfigError: `listed` is below 2.

    Example:
        >>> ListThenTry(listed=8)
        ListThenTry(objective=Entropy(), listed=8, exact=True)
    """

    objective: Objective = field(default_factory=Entropy)
    listed: int = 32
    exact: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.listed < 2:
            raise ConfigError(f"listed must be at least 2 tasks, got {self.listed}")

    @property
    def comparable(self) -> bool:
        return True

    def infer(self, superposition: Superposition, inputs: Tensor) -> Belief:
        lists, tied = self._lists(superposition, inputs, together=True)
        evidence = torch.full((1, len(superposition)), -torch.inf, dtype=torch.float32)
        for task in lists[0].nonzero().flatten().tolist():
            evidence[0, task] = tried(superposition, inputs, task, self.objective).mean()
        return decide(superposition, evidence, tied)

    def infer_each(self, superposition: Superposition, inputs: Tensor) -> Belief:
        lists, tied = self._lists(superposition, inputs, together=False)
        evidence = torch.full(lists.shape, -torch.inf, dtype=torch.float32)
        # Each mask is put into the network once, for all inputs that list its task.
        for task in lists.any(dim=0).nonzero().flatten().tolist():
            rows = lists[:, task].nonzero().flatten()
            evidence[rows, task] = tried(superposition, inputs[rows.to(inputs.device)], task, self.objective).cpu()
        return decide(superposition, evidence, tied)

    def _lists(self, superposition: Superposition, inputs: Tensor, together: bool) -> tuple[Tensor, Tensor]:
        """Return which tasks each row lists, `rows x k`, bool, and whether the end of its list was a tie, `rows`."""
        uniform(superposition)  # rejects an empty bank
        superposition.check_heads()
        rows = 1 if together else len(inputs)
        if len(superposition) <= self.listed:
            return torch.ones(rows, len(superposition), dtype=torch.bool), torch.zeros(rows, dtype=torch.bool)
        first = OneShot(self.objective, self.exact, centred=True)
        belief = first.infer(superposition, inputs) if together else first.infer_each(superposition, inputs)
        lists, tied = torch.zeros(belief.evidence.shape, dtype=torch.bool), torch.zeros(rows, dtype=torch.bool)
        for row, evidence in enumerate(belief.evidence):
            among, tied[row] = listed_tasks(evidence, self.listed)
            lists[row, among] = True
        return lists, tied
