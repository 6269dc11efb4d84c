"""Linear discriminant analysis: to which class of which task an input belongs, in closed form."""

from dataclasses import dataclass, field, replace
from math import sqrt
from typing import Literal

import torch
from torch import Tensor

from supermasks.arithmetic import computing_in
from supermasks.brief import listed
from supermasks.errors import ConfigError, TaskError
from supermasks.inference import TaskInference
from supermasks.inference.task_inference import decide
from supermasks.moments import Moments
from supermasks.router.feature_map import FeatureMap, Features
from supermasks.router.statistics import Statistics, features_of
from supermasks.router.usual import Usual
from supermasks.spec import build
from supermasks.state import TaskState
from supermasks.superposition import Superposition
from supermasks.types import Belief


@dataclass(frozen=True, kw_only=True)
class LinearDiscriminant(TaskInference):
    """Choose the task of the most probable class, of Gaussian classes with one covariance.

        log p(x, c) = h^T Sigma^-1 m_c - m_c^T Sigma^-1 m_c / 2 + log pi_c + const
        evidence of a task = log sum_{c of the task} p(x, c)

    `h(x)` are features that belong to no task, `m_c` the mean of a class, `Sigma` the scatter of all tasks, shrunk, and
    `pi_c` the share of the class among the examples of its task. Means and scatter are counted while a task is learned,
    in one pass. No example is stored. The result is that of all tasks at once, in whatever order they were learned.

    Not in the papers, which leave natural tasks open (SupSup, Section 6).

    Attributes:
        features: of the inputs; `Usual` chooses by the first task.
        per: whether each class has a mean, or each task as a whole.
        bits: of each number of a mean: 16 are as good as exact means. 8 take half the bytes, and are enough where
            classes lie far apart (docs/recognising.md: they cost 0 to 10 points).
        shrinkage: `Sigma = (1 - s) S / N + s tr(S / N) / d I`; None estimates `s` ("oracle approximating shrinkage",
            Chen et al. 2010), and adds at least what the scatter may be off by, since it is rounded (`rounding`).
        measured: whether the strangeness of inputs is measured: the squared Mahalanobis distance to the nearest class
            of the chosen task, and the same minus the distance to the centre of all classes (Ren et al. 2021). The
            first notices inputs that are like no task, the second those between tasks. It takes one more product.

    Raises:
        ConfigError: the shrinkage is not between 0 and 1; or the tasks were counted with other features.

    Example:
        >>> from supermasks.router import Patches
        >>> LinearDiscriminant(features=Patches(), shrinkage=0.01).per
        'class'
    """

    features: FeatureMap = field(default_factory=Usual)
    per: Literal["class", "task"] = "class"
    bits: Literal[8, 16] = 16
    shrinkage: float | None = None
    measured: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.shrinkage is not None and not 0 <= self.shrinkage <= 1:
            raise ConfigError(f"the shrinkage must be between 0 and 1, or None to estimate it, got {self.shrinkage}")

    @property
    def averages(self) -> bool:
        return True

    @property
    def statistics(self) -> Statistics:
        return Statistics(self.features, self.per, self.bits)

    @property
    def comparable(self) -> bool:
        return True

    def infer(self, superposition: Superposition, inputs: Tensor) -> Belief:
        solved = superposition.once(self._solved)
        evidence = solved.evidence(solved.joint(solved.features(inputs)))
        # Each task's sum is made in the same way, so that equal tasks are tied.
        return decide(superposition, evidence.mT.contiguous().mean(dim=1)[None], blank=False)

    def infer_each(self, superposition: Superposition, inputs: Tensor) -> Belief:
        return self.believed(superposition, inputs)[0]

    def believed(self, superposition: Superposition, inputs: Tensor) -> tuple[Belief, Tensor, Tensor]:
        """Return the belief about each input, `log p(x, c)` of all classes up to a constant, and their tasks.

        Returns:
            the belief; `inputs x means`; for each mean the index of its task, `means`.
        """
        solved = superposition.once(self._solved)
        features = solved.features(inputs)
        joint = solved.joint(features)
        belief = decide(superposition, solved.evidence(joint), blank=False)
        if self.measured:
            belief = replace(belief, strangeness=solved.strangeness(features, joint, belief.chosen))
        return belief, joint, solved.of

    def _solved(self, superposition: Superposition) -> "_Solved":
        moments = self._checked(superposition)
        states = superposition.states
        parts = [state.means for state in states if state.means is not None]
        means = torch.cat([part.values for part in parts]).double()
        counts = torch.cat([part.counts for part in parts]).double()
        of = torch.cat([torch.full((len(part.counts),), i) for i, part in enumerate(parts)])
        totals = torch.zeros(len(states), dtype=torch.float64).index_add_(0, of, counts)
        covariance = moments.scatter / moments.examples
        size = len(covariance)
        share = shrinkage(covariance, moments.examples) if self.shrinkage is None else self.shrinkage
        scale = float(covariance.diagonal().mean())
        added = share * scale if scale > 0 else 1.0
        if self.shrinkage is None:
            added = max(added, rounding(size, len(moments.members)) / moments.examples)
        covariance *= 1 - share
        covariance.diagonal().add_(added)
        root, failed = torch.linalg.cholesky_ex(covariance)
        while int(failed) and self.shrinkage is None and bool(covariance.isfinite().all()):
            covariance.diagonal().add_(added)
            added *= 2
            root, failed = torch.linalg.cholesky_ex(covariance)
        if int(failed):
            raise ConfigError(
                f"the covariance of {size} features of {moments.examples} examples has no inverse with "
                f"shrinkage={self.shrinkage}; use a larger shrinkage, or shrinkage=None, which is always large enough"
            )
        # Sorted, so that the order of the tasks changes no bit; and once each, so that equal classes are tied.
        different, column = means.unique(dim=0, return_inverse=True)
        examples = torch.zeros(len(different), dtype=torch.float64).index_add_(0, column, counts)
        centre = (different * examples[:, None]).sum(dim=0) / examples.sum()
        whitening = torch.linalg.solve_triangular(root, torch.eye(size, dtype=torch.float64), upper=False)
        whitened = (different - centre) @ whitening.mT
        features = features_of(superposition.network, states[0].input_shape, moments)
        shares = (counts / totals[of]).log()
        return _Solved(features, centre, whitening, whitened, column, shares, of)

    def _checked(self, superposition: Superposition) -> Moments:
        """Return the moments; raise TaskError if they, or a task in them, are missing or of other features."""
        if len(superposition) == 0:
            raise TaskError("expected at least one task to choose among, got none; learn a task first")
        moments, states = superposition.moments, superposition.states
        lacking = [state.name for state in states if not _is_counted(state, moments)]
        if moments is None or lacking:
            raise TaskError(
                f"expected tasks with statistics to be recognised by, but {listed(lacking)} have none, or of other "
                "features, or are not in those of the bank; collect them anew with learner.fit_router(tasks)"
            )
        counted = build(moments.settings, Statistics)
        differs = counted.features != self.features and not isinstance(self.features, Usual)
        if differs or counted.per != self.per:
            raise ConfigError(
                f"expected statistics of {self.features}, one mean for each {self.per}, but the tasks were counted "
                f"with {counted.features}, one for each {counted.per}; use these, or call learner.fit_router(tasks)"
            )
        return moments


def _is_counted(state: TaskState, moments: Moments | None) -> bool:
    """Return whether the moments hold the task; then its means are of their features."""
    means = state.means
    if means is None or moments is None or means.of != moments.of or means.codes.shape[1] != len(moments.scatter):
        return False
    return means.digest in moments.members


class _Solved:
    """The classes of all tasks as a linear function of features.

    Args:
        features: of inputs.
        centre: the mean of all classes, `features`.
        whitening: `L^-1` of the covariance `L L^T`.
        means: the different means of classes, minus the centre, whitened: `different x features`.
        column: for each class the index of its mean.
        shares: the logarithm of the share of each class among the examples of its task.
        of: for each class the index of its task, ascending.
    """

    def __init__(
        self,
        features: Features,
        centre: Tensor,
        whitening: Tensor,
        means: Tensor,
        column: Tensor,
        shares: Tensor,
        of: Tensor,
    ) -> None:
        self.features, self.of, self._column, self._shares = features, of, column, shares.float()
        weights = whitening.mT @ means.mT
        self._weights, self._bias = weights.float(), (-means.square().sum(dim=1) / 2 - centre @ weights).float()
        self._whitening, self._centre = whitening.mT.float(), centre.float()
        self.sizes = of.bincount()
        self._groups = [self._group(int(n)) for n in self.sizes.unique()]

    def _group(self, size: int) -> tuple[Tensor, Tensor]:
        """Return the tasks with so many classes, and the places of their classes."""
        tasks = (self.sizes == size).nonzero().flatten()
        return tasks, (self.sizes[self.of] == size).nonzero().flatten()

    def joint(self, features: Tensor) -> Tensor:
        """Return `log p(x, c)` up to a constant, `inputs x classes`."""
        with computing_in(torch.float32, features.device):
            joint = torch.addmm(self._bias, features, self._weights)
        return joint.index_select(1, self._column).add_(self._shares)

    def evidence(self, joint: Tensor) -> Tensor:
        """Return `log p(x, task)` up to a constant, `inputs x tasks`, from `log p(x, c)`."""
        if len(self.sizes) == len(self.of):
            return joint
        evidence = torch.empty(len(joint), len(self.sizes), dtype=torch.float32)
        for tasks, columns in self._groups:
            evidence[:, tasks] = joint.index_select(1, columns).view(len(joint), len(tasks), -1).logsumexp(dim=2)
        return evidence

    def strangeness(self, features: Tensor, joint: Tensor, chosen: Tensor) -> Tensor:
        """Return the squared Mahalanobis distance to the nearest class of a task, over the number of features.

        The first column is the distance, the second one the distance minus that to the centre: `inputs x 2`.
        """
        with computing_in(torch.float32, features.device):
            lengths = ((features - self._centre) @ self._whitening).square().sum(dim=1)
        relative = torch.empty(len(chosen), dtype=joint.dtype)
        for tasks, columns in self._groups:
            row = torch.full((len(self.sizes),), -1).scatter_(0, tasks, torch.arange(len(tasks)))[chosen]
            inputs = (row >= 0).nonzero()
            classes = columns.view(len(tasks), -1)[row[inputs[:, 0]]]
            nearest = joint[inputs, classes] - self._shares[classes]
            nearest.masked_fill_(self._shares[classes].isinf(), -torch.inf)  # a class without examples is nowhere
            relative[inputs[:, 0]] = -2 * nearest.amax(dim=1)
        return torch.stack([(lengths + relative).clamp(min=0), relative], dim=1) / features.shape[1]


def shrinkage(covariance: Tensor, examples: int) -> float:
    """Return the oracle approximating shrinkage of a covariance (Chen et al. 2010, Equation 23), between 0 and 1.

        s = ((1 - 2/d) tr(S^2) + tr(S)^2) / ((n + 1 - 2/d) (tr(S^2) - tr(S)^2 / d))

    Args:
        covariance: `S`, `d x d`.
        examples: n.

    Example:
        >>> round(shrinkage(torch.diag(torch.tensor([3.0, 1.0])), 9), 6)
        0.888889
    """
    size, squares, trace = len(covariance), float(covariance.square().sum()), float(covariance.trace())
    above, below = (1 - 2 / size) * squares + trace**2, (examples + 1 - 2 / size) * (squares - trace**2 / size)
    return 1.0 if below <= 0 else min(1.0, above / below)


def rounding(size: int, tasks: int) -> float:
    """Return how far rounding moves the eigenvalues of a scatter: the largest one of a random symmetric matrix.

    The scatter of each task is rounded to integers, so each entry is off by up to 1/2, with variance 1/12. The largest
    eigenvalue of such a matrix tends to `2 sqrt(size * variance)` (Wigner's semicircle).

    Args:
        size: the number of features.
        tasks: whose rounded scatters are added.

    Example:
        >>> rounding(300, 4)
        20.0
    """
    return 2 * sqrt(size * tasks / 12)
