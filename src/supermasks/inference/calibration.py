"""How sure an inference may be, and which inputs are of no task at all: learned from held-out inputs of known tasks."""

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real

import torch
from torch import Tensor

from supermasks.errors import ConfigError, UnknownTaskError
from supermasks.types import Belief

LEAST_TASKS = 3  # of fewer there is no spread to compare a lead with
TEMPERATURES = torch.logspace(-3, 3, 601, dtype=torch.float64)


@dataclass(frozen=True, eq=False)
class Calibration:
    """Turns the evidence of a task inference into a confidence, and into the answer that the task is unknown.

    Evidence has another scale for each input. So the lead of the chosen task over the next one is measured in standard
    deviations of the evidence of all other tasks, and the evidence itself likewise, in `z`:

        confidence   softmax(z / T) at the chosen task, with the T of largest likelihood on held-out inputs
        typicality   (1 + held-out inputs whose lead is at most this one's) / (1 + held-out inputs)

    An input of a known task has a typicality of at most `t` with a probability of at most `t`, whatever the network,
    as long as it comes from where the held-out inputs come from. Below the `level` an input is called unknown.

    Attributes:
        tasks: the names of the tasks that were chosen among; a belief about others needs a calibration of its own.
        temperature: T.
        leads: of the held-out inputs, in ascending order, float32.
        level: the share of inputs of known tasks that may be called unknown.

    Example:
        >>> evidence = torch.tensor([[9.0, 1.0, 0.0, 1.0], [0.0, 8.0, 1.0, 0.0], [1.0, 0.0, 9.0, 2.0]])
        >>> names, chosen = ("a", "b", "c", "d"), evidence.argmax(dim=1)
        >>> belief = Belief(names, torch.zeros(3, 4), evidence, chosen, torch.zeros(3, dtype=torch.bool))
        >>> calibration = Calibration.fit(belief, ["a", "b", "c"], level=0.3)
        >>> vague = Belief(names, torch.zeros(1, 4), torch.tensor([[2.0, 1.9, 1.0, 0.0]]), chosen[:1], belief.tied[:1])
        >>> calibration.unknown(belief).tolist(), calibration.unknown(vague).tolist()
        ([False, False, False], [True])
    """

    tasks: tuple[str, ...]
    temperature: float
    leads: Tensor
    level: float

    @classmethod
    def fit(cls, belief: Belief, truth: Sequence[str], level: float = 0.01) -> "Calibration":
        """Return the calibration that held-out inputs of known tasks give.

        Args:
            belief: about the inputs, which nothing was trained on.
            truth: the name of the task of each row.
            level: the share of inputs of known tasks that may be called unknown.

        Raises:
            ConfigError: there are fewer than 3 tasks, too few inputs for this level, or not a name for each row.
            UnknownTaskError: a name is not among the tasks.
        """
        if len(truth) != len(belief.chosen):
            raise ConfigError(f"each row has its task, but {len(belief.chosen)} rows and {len(truth)} names came")
        if isinstance(level, bool) or not isinstance(level, Real):
            raise ConfigError(f"the level must be a number between 0 and 1, got {level!r}")
        if not 0 < level < 1 or 1 / (1 + len(truth)) > level:
            raise ConfigError(
                f"a level of {level} of {len(truth)} held-out inputs is less than one of them; "
                "take a level between 0 and 1, and more inputs"
            )
        if missing := set(truth) - set(belief.tasks):
            raise UnknownTaskError(f"held-out inputs are of tasks {sorted(missing)}, which the belief is not about")
        standardised, leads = _standardised(belief)
        rows, right = torch.arange(len(truth)), torch.tensor([belief.tasks.index(name) for name in truth])
        # On a grid: the likelihood has one maximum, which may lie at the end where all answers are right.
        likelihood = torch.stack(
            [(standardised / t).log_softmax(dim=1)[rows, right].clamp(min=-1e4).mean() for t in TEMPERATURES]
        )
        best = float(TEMPERATURES[int(likelihood.argmax())])
        return cls(belief.tasks, best, leads.sort().values.float(), level)

    def confidence(self, belief: Belief) -> Tensor:
        """Return for each row how probable it is that the chosen task is the right one, float32.

        Raises:
            ConfigError: the belief is about other tasks.
        """
        self._check(belief)
        p = (_standardised(belief)[0] / self.temperature).softmax(dim=1)
        return p.gather(1, belief.chosen[:, None])[:, 0].float()

    def typicality(self, belief: Belief) -> Tensor:
        """Return for each row how many held-out inputs had a lead at most as large, as a fraction, float32.

        Raises:
            ConfigError: the belief is about other tasks.
        """
        self._check(belief)
        leads = _standardised(belief)[1].float()
        below = torch.searchsorted(self.leads, leads, right=True)
        return (1 + below).float() / (1 + len(self.leads))

    def unknown(self, belief: Belief) -> Tensor:
        """Return for each row whether its lead is so small that it is called unknown, bool.

        Raises:
            ConfigError: the belief is about other tasks.
        """
        return self.typicality(belief) <= self.level

    def _check(self, belief: Belief) -> None:
        if belief.tasks != self.tasks:
            raise ConfigError(
                f"this calibration is for {len(self.tasks)} tasks, but the belief is about {len(belief.tasks)}, or "
                "about others; calibrate anew when tasks were added"
            )


def _standardised(belief: Belief) -> tuple[Tensor, Tensor]:
    """Return the evidence in standard deviations, `rows x k`, and the lead of the chosen task, `rows`; float64."""
    evidence = belief.evidence.double()
    looked_at = evidence.isfinite()  # a shortlist has not looked at all
    if int(looked_at.sum(dim=1).min()) < LEAST_TASKS:
        raise ConfigError(
            f"a confidence needs the evidence of at least {LEAST_TASKS} tasks, but there is less; "
            "learn more tasks, or use an inference that looks at all of them"
        )
    chosen = torch.zeros_like(looked_at).scatter_(1, belief.chosen[:, None], True)
    others = looked_at & ~chosen
    count = others.sum(dim=1, keepdim=True)
    mean = torch.where(others, evidence, 0.0).sum(dim=1, keepdim=True) / count
    spread = (torch.where(others, evidence - mean, 0.0).square().sum(dim=1, keepdim=True) / count).sqrt()
    standardised = (evidence - mean) / spread.clamp(min=torch.finfo(torch.float64).tiny)
    best = standardised.gather(1, belief.chosen[:, None])[:, 0]
    second = standardised.masked_fill(chosen, -torch.inf).amax(dim=1)
    return standardised, best - second
