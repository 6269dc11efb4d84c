"""Confidence in an inferred task, and detection of inputs of unknown tasks, fitted on held-out inputs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from supermasks.brief import counted
from supermasks.errors import ConfigError, UnknownTaskError
from supermasks.inference.task_inference import TaskInference
from supermasks.spec import build, describe
from supermasks.types import Belief

LEAST_TASKS = 3  # fewer have no spread to compare a lead with
MOST_STORED = 10_000  # held-out inputs that are stored with a bank; a level must not need more
TEMPERATURES = torch.logspace(-3, 3, 601, dtype=torch.float64)

_PLAIN = ("temperature", "level", "recognised", "comparable", "strange")


@dataclass(frozen=True, eq=False)
class Calibration:
    """Turns the evidence of a task inference into a confidence, and detects inputs of unknown tasks.

    Most evidence has another scale for each input. It is standardised: `z` is measured in standard deviations of the
    evidence of all tasks but the chosen one. Evidence that is a log probability is taken as it is (`comparable`).

        confidence   softmax(z / T) at the chosen task, with the T of largest likelihood on held-out inputs
        typicality   (1 + held-out inputs at least as unusual as this one) / (1 + held-out inputs)

    An input is as unusual as its strangeness says (`Belief.strangeness`), where the inference measures that. Of several
    measures, the one counts by which it is rarest among the held-out inputs. Without any, an input is unusual if its
    lead is small: the `z` of the chosen task minus the second largest.

    If an input of a known task has the distribution of the held-out inputs, its typicality is at most `t` with a
    probability of at most `t`, for any network. An input whose typicality is at most `level` is called unknown.

    Attributes:
        candidates: the names of the tasks to choose among; other candidates need another calibration.
        temperature: T.
        leads: how usual held-out inputs are, `measures x inputs`, each row ascending, float32: the lead, or minus the
            strangeness.
        rarest: the smallest typicality of each held-out input by any measure, ascending, float32.
        level: the accepted share of inputs of known tasks that are called unknown.
        recognised: the share of the held-out inputs whose task was found.
        comparable: whether evidence has the same scale for all inputs (`TaskInference.comparable`).
        strange: whether inputs are judged by their strangeness.
        inference: whose evidence it is; None where that is the learner's.
        compared: the share of held-out inputs whose task each inference found that was tried, by its name.
        skipped: why an inference was not tried, by its name.

    Example:
        >>> evidence = torch.tensor([[9.0, 1.0, 0.0, 1.0], [0.0, 8.0, 1.0, 0.0], [1.0, 0.0, 9.0, 2.0]])
        >>> names, chosen = ("a", "b", "c", "d"), evidence.argmax(dim=1)
        >>> belief = Belief(names, torch.zeros(3, 4), evidence, chosen, torch.zeros(3, dtype=torch.bool))
        >>> calibration = Calibration.fit(belief, ["a", "b", "c"], level=0.3)
        >>> vague = Belief(names, torch.zeros(1, 4), torch.tensor([[2.0, 1.9, 1.0, 0.0]]), chosen[:1], belief.tied[:1])
        >>> calibration.unknown(belief).tolist(), calibration.unknown(vague).tolist()
        ([False, False, False], [True])
        >>> calibration
        Calibration(4 tasks; recognised on held-out data: 100%)
    """

    candidates: tuple[str, ...]
    temperature: float
    leads: Tensor
    rarest: Tensor
    level: float
    recognised: float = 1.0
    comparable: bool = False
    strange: bool = False
    inference: TaskInference | None = None
    compared: Mapping[str, float] = field(default_factory=dict[str, float])
    skipped: Mapping[str, str] = field(default_factory=dict[str, str])

    def __repr__(self) -> str:
        tried = ", ".join(f"{name} {share:.0%}" for name, share in self.compared.items())
        return (
            f"Calibration({counted(len(self.candidates), 'task')}; recognised on held-out data: {self.recognised:.0%}"
            + (f"; compared: {tried})" if tried else ")")
        )

    @classmethod
    def fit(cls, belief: Belief, truth: Sequence[str], level: float = 0.01, comparable: bool = False) -> "Calibration":
        """Return the calibration from held-out inputs of known tasks.

        Args:
            belief: about inputs that were not used for training.
            truth: the name of the right task of each row.
            level: the accepted share of inputs of known tasks that are called unknown; at least about 0.0001, since
                a bank stores 10,000 held-out inputs at most.
            comparable: as `TaskInference.comparable`.

        Raises:
            ConfigError: there are fewer than 3 tasks for evidence that must be standardised, too few inputs for this
                level, or rows without a name.
            UnknownTaskError: a name is not among the candidates.
        """
        if len(truth) != len(belief.chosen):
            raise ConfigError(f"expected one task name for each of {len(belief.chosen)} rows, got {len(truth)}")
        if isinstance(level, bool) or not isinstance(level, Real):
            raise ConfigError(f"the level must be a number between 0 and 1, got {level!r}")
        if not 0 < level < 1 or 1 / (1 + min(len(truth), MOST_STORED)) > level:
            raise ConfigError(
                f"the level must be between 0 and 1, and at least 1 / (1 + number of held-out inputs), of which at "
                f"most {MOST_STORED:,} count, got {level} for {len(truth)} inputs; use more inputs, or another level"
            )
        if missing := set(truth) - set(belief.candidates):
            raise UnknownTaskError(
                f"the belief is about {len(belief.candidates)} tasks, but not about {sorted(missing)}"
            )
        scaled = _scaled(belief, comparable)
        usual = _usual(belief, comparable)
        rows, right = torch.arange(len(truth)), torch.tensor([belief.candidates.index(name) for name in truth])
        # On a grid: the maximum may lie at its end, if all answers are right.
        likelihood = torch.stack(
            [(scaled / t).log_softmax(dim=1)[rows, right].clamp(min=-1e4).mean() for t in TEMPERATURES]
        )
        best = float(TEMPERATURES[int(likelihood.argmax())])
        found = float((belief.chosen == right).double().mean())
        leads, strange = usual.float().sort(dim=1).values.contiguous(), belief.strangeness is not None
        rarest = _typicality(leads, usual).sort().values
        return cls(belief.candidates, best, leads, rarest, level, found, comparable, strange)

    def confidence(self, belief: Belief) -> Tensor:
        """Return the probability that the chosen task of each row is right, `rows`, float32.

        Raises:
            ConfigError: the belief has other candidates.
        """
        self._check(belief)
        p = (_scaled(belief, self.comparable) / self.temperature).softmax(dim=1)
        return p.gather(1, belief.chosen[:, None])[:, 0].float()

    def typicality(self, belief: Belief) -> Tensor:
        """Return the fraction of held-out inputs that are at least as unusual as each row, `rows`, float32.

        Raises:
            ConfigError: the belief has other candidates, or lacks the strangeness that the calibration has.
        """
        self._check(belief)
        rarest = _typicality(self.leads, _usual(belief, self.comparable))
        if len(self.leads) == 1:
            return rarest
        return (1 + torch.searchsorted(self.rarest, rarest, right=True)).float() / (1 + len(self.rarest))

    def unknown(self, belief: Belief) -> Tensor:
        """Return whether each row seems to belong to an unknown task, `rows`, bool.

        Raises:
            ConfigError: the belief has other candidates.
        """
        return self.typicality(belief) <= self.level

    def described(self) -> dict[str, Any]:
        """Return the calibration as JSON data; of many held-out inputs, 10,000 evenly spaced ones.

        Raises:
            ConfigError: the inference has no JSON form.
        """
        count = self.leads.shape[1]
        some = torch.linspace(0, count - 1, min(count, MOST_STORED), dtype=torch.float64).round().long()
        return {
            **{name: getattr(self, name) for name in _PLAIN},
            "candidates": list(self.candidates),
            "leads": self.leads[:, some].tolist(),
            "rarest": self.rarest[some].tolist(),
            "inference": None if self.inference is None else describe(self.inference),
            "compared": dict(self.compared),
            "skipped": dict(self.skipped),
        }

    @classmethod
    def built(cls, described: Mapping[str, Any]) -> "Calibration":
        """Return the calibration that `described` described.

        Raises:
            ConfigError: the inference is unknown.
            ValueError: a part is missing or has another type.
        """
        inference = described["inference"]
        leads, rarest = (torch.tensor(described[name], dtype=torch.float32) for name in ("leads", "rarest"))
        rows = torch.cat([leads, rarest[None]])  # raises an error if their lengths differ
        if rows.shape[1] == 0 or not bool((rows[:, 1:] >= rows[:, :-1]).all()):
            raise ValueError("the leads of a calibration must ascend")
        return cls(
            candidates=tuple(map(str, described["candidates"])),
            temperature=float(described["temperature"]),
            leads=leads,
            rarest=rarest,
            level=float(described["level"]),
            recognised=float(described["recognised"]),
            comparable=bool(described["comparable"]),
            strange=bool(described["strange"]),
            inference=None if inference is None else build(inference, TaskInference),
            compared={str(name): float(share) for name, share in described["compared"].items()},
            skipped={str(name): str(why) for name, why in described["skipped"].items()},
        )

    def _check(self, belief: Belief) -> None:
        if belief.candidates != self.candidates:
            raise ConfigError(
                f"the belief must have the {len(self.candidates)} candidates of the calibration, got "
                f"{len(belief.candidates)}, or other ones; calibrate again after tasks were added"
            )
        if self.strange != (belief.strangeness is not None):
            raise ConfigError(
                "the belief must come from the inference of the calibration: one of the two measures strangeness, the "
                "other does not; calibrate again"
            )


def _scaled(belief: Belief, comparable: bool) -> Tensor:
    """Return evidence on a scale that is the same for all inputs, `rows x k`; float64."""
    if not comparable:
        return _standardised(belief)[0]
    evidence = belief.evidence.double()
    return evidence - evidence.amax(dim=1, keepdim=True)


def _usual(belief: Belief, comparable: bool) -> Tensor:
    """Return how usual each row is by each measure, `measures x rows`; float64."""
    if belief.strangeness is not None:
        return -belief.strangeness.double().mT
    if not comparable:
        return _standardised(belief)[1][None]
    top = belief.evidence.double().topk(min(2, belief.evidence.shape[1]), dim=1).values
    return (top[:, 0] - top[:, -1])[None]


def _typicality(leads: Tensor, usual: Tensor) -> Tensor:
    """Return the smallest fraction of held-out inputs that are at least as unusual, over the measures, `rows`."""
    below = torch.searchsorted(leads, usual.float().contiguous(), right=True)
    return ((1 + below).float() / (1 + leads.shape[1])).amin(dim=0)


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
