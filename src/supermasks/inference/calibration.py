"""Confidence in an inferred task, and detection of inputs of unknown tasks, fitted on held-out inputs."""

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real

import torch
from torch import Tensor

from supermasks.errors import ConfigError, UnknownTaskError
from supermasks.types import Belief

LEAST_TASKS = 3  # fewer have no spread to compare a lead with
TEMPERATURES = torch.logspace(-3, 3, 601, dtype=torch.float64)


@dataclass(frozen=True, eq=False)
class Calibration:
    """Turns the evidence of a task inference into a confidence, and detects inputs of unknown tasks.

    The scale of evidence differs between inputs. So evidence is standardised for each input: `z` is measured in
    standard deviations of the evidence of all tasks but the chosen one. The lead is the `z` of the chosen task minus
    the second largest.

        confidence   softmax(z / T) at the chosen task, with the T of largest likelihood on held-out inputs
        typicality   (1 + held-out inputs whose lead is at most this one's) / (1 + held-out inputs)

    If an input of a known task has the distribution of the held-out inputs, its typicality is at most `t` with a
    probability of at most `t`, for any network. An input whose typicality is at most `level` is called unknown.

    Attributes:
        candidates: the names of the tasks to choose among; other candidates need another calibration.
        temperature: T.
        leads: of the held-out inputs, ascending, float32.
        level: the accepted share of inputs of known tasks that are called unknown.

    Example:
        >>> evidence = torch.tensor([[9.0, 1.0, 0.0, 1.0], [0.0, 8.0, 1.0, 0.0], [1.0, 0.0, 9.0, 2.0]])
        >>> names, chosen = ("a", "b", "c", "d"), evidence.argmax(dim=1)
        >>> belief = Belief(names, torch.zeros(3, 4), evidence, chosen, torch.zeros(3, dtype=torch.bool))
        >>> calibration = Calibration.fit(belief, ["a", "b", "c"], level=0.3)
        >>> vague = Belief(names, torch.zeros(1, 4), torch.tensor([[2.0, 1.9, 1.0, 0.0]]), chosen[:1], belief.tied[:1])
        >>> calibration.unknown(belief).tolist(), calibration.unknown(vague).tolist()
        ([False, False, False], [True])
    """

    candidates: tuple[str, ...]
    temperature: float
    leads: Tensor
    level: float

    @classmethod
    def fit(cls, belief: Belief, truth: Sequence[str], level: float = 0.01) -> "Calibration":
        """Return the calibration from held-out inputs of known tasks.

        Args:
            belief: about inputs that were not used for training.
            truth: the name of the right task of each row.
            level: the accepted share of inputs of known tasks that are called unknown.

        Raises:
            ConfigError: there are fewer than 3 tasks, too few inputs for this level, or rows without a name.
            UnknownTaskError: a name is not among the candidates.
        """
        if len(truth) != len(belief.chosen):
            raise ConfigError(f"expected one task name for each of {len(belief.chosen)} rows, got {len(truth)}")
        if isinstance(level, bool) or not isinstance(level, Real):
            raise ConfigError(f"the level must be a number between 0 and 1, got {level!r}")
        if not 0 < level < 1 or 1 / (1 + len(truth)) > level:
            raise ConfigError(
                f"the level must be between 0 and 1, and at least 1 / (1 + number of held-out inputs), got {level} for "
                f"{len(truth)} inputs; use more inputs, or another level"
            )
        if missing := set(truth) - set(belief.candidates):
            raise UnknownTaskError(
                f"the belief is about {len(belief.candidates)} tasks, but not about {sorted(missing)}"
            )
        standardised, leads = _standardised(belief)
        rows, right = torch.arange(len(truth)), torch.tensor([belief.candidates.index(name) for name in truth])
        # On a grid: the maximum may lie at its end, if all answers are right.
        likelihood = torch.stack(
            [(standardised / t).log_softmax(dim=1)[rows, right].clamp(min=-1e4).mean() for t in TEMPERATURES]
        )
        best = float(TEMPERATURES[int(likelihood.argmax())])
        return cls(belief.candidates, best, leads.sort().values.float(), level)

    def confidence(self, belief: Belief) -> Tensor:
        """Return the probability that the chosen task of each row is right, `rows`, float32.

        Raises:
            ConfigError: the belief has other candidates.
        """
        self._check(belief)
        p = (_standardised(belief)[0] / self.temperature).softmax(dim=1)
        return p.gather(1, belief.chosen[:, None])[:, 0].float()

    def typicality(self, belief: Belief) -> Tensor:
        """Return the fraction of held-out inputs whose lead is at most that of each row, `rows`, float32.

        Raises:
            ConfigError: the belief has other candidates.
        """
        self._check(belief)
        leads = _standardised(belief)[1].float()
        below = torch.searchsorted(self.leads, leads, right=True)
        return (1 + below).float() / (1 + len(self.leads))

    def unknown(self, belief: Belief) -> Tensor:
        """Return whether each row seems to belong to an unknown task, `rows`, bool.

        Raises:
            ConfigError: the belief has other candidates.
        """
        return self.typicality(belief) <= self.level

    def _check(self, belief: Belief) -> None:
        if belief.candidates != self.candidates:
            raise ConfigError(
                f"the belief must have the {len(self.candidates)} candidates of the calibration, got "
                f"{len(belief.candidates)}, or other ones; calibrate again after tasks were added"
            )


def _standardised(belief: Belief) -> tuple[Tensor, Tensor]:
    """Return the standardised evidence, `rows x k`, and the lead of the chosen task, `rows`; float64."""
    evidence = belief.evidence.double()
    looked_at = evidence.isfinite()  # a shortlist skips some tasks
    if int(looked_at.sum(dim=1).min()) < LEAST_TASKS:
        raise ConfigError(
            f"a calibration needs the evidence of at least {LEAST_TASKS} tasks for each input, got fewer; learn more "
            "tasks, or use an inference that compares all of them"
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
