"""What is counted of the examples of a task, so that its inputs can be recognised later."""

import warnings
from dataclasses import dataclass, field
from typing import Literal

import torch

from supermasks.arithmetic import computing_in
from supermasks.errors import ConfigError, SupermasksWarning
from supermasks.moments import LEVELS, ClassMeans, Moments, add_products
from supermasks.network import Network
from supermasks.router.columns import Columns
from supermasks.router.feature_map import FeatureMap, Features
from supermasks.router.joined import Joined
from supermasks.router.usual import Usual
from supermasks.spec import Settings, build, describe
from supermasks.types import Examples

SEEN = 2000
"""Of how many inputs of the first task a feature map sees the values."""

AT_ONCE = 1024
"""How many examples are counted at once."""

CLIPPED = 0.5
"""If more than this share of the features of a task are clipped, a warning says so."""

_CPU = torch.device("cpu")

_TYPES = {8: torch.int8, 16: torch.int16}


@dataclass(frozen=True)
class Statistics(Settings):
    """What is counted of a task: the mean features of its classes, and how its inputs scatter around them.

    Attributes:
        features: of the inputs.
        per: whether a mean is kept for each class, or one for the whole task, which takes fewer bytes.
        bits: of each number of a mean: 16 are as good as exact means, 8 take half the bytes.

    Raises:
        ConfigError: the bits are neither 8 nor 16.
    """

    features: FeatureMap = field(default_factory=Usual)
    per: Literal["class", "task"] = "class"
    bits: Literal[8, 16] = 16

    def begin(self, network: Network, examples: Examples) -> Moments:
        """Return empty moments, with the features fitted on examples of the first task.

        Args:
            network: that the tasks are learned over.
            examples: of the first task.

        Raises:
            ConfigError: there are no such features of such inputs.
        """
        chosen = torch.linspace(0, len(examples) - 1, min(SEEN, len(examples)), dtype=torch.float64).round().long()
        with computing_in(torch.float32, network.device), computing_in(torch.float32, _CPU):
            inputs = examples.batch(chosen)[0]
            features = self.features.suited(network, inputs)
            fitted = features.fit(network, inputs)
        settings = describe(Statistics(features, self.per, self.bits))
        function = features.function(network, tuple(inputs.shape[1:]), fitted)
        width = Features(network, function)(inputs[:1]).shape[1]
        return Moments(settings, fitted, torch.zeros(width, width, dtype=torch.float64), 0)


def features_of(network: Network, shape: tuple[int, ...], moments: Moments) -> Features:
    """Return the features that moments are about.

    Args:
        network: that the tasks are learned over.
        shape: of an input.
        moments: with the settings of the features, and what is fitted.

    Raises:
        ConfigError: there are no such features of such inputs.
    """
    features = build(moments.settings, Statistics).features
    return Features(network, features.function(network, shape, moments.fitted))


def collect(network: Network, examples: Examples, classes: int, empty: Moments) -> tuple[ClassMeans, Moments]:
    """Count the examples of a task, in one pass.

    Args:
        network: that the tasks are learned over.
        examples: of the task.
        classes: how many classes it has.
        empty: moments with the features (`Statistics.begin`), or those of any tasks.

    Many features that are clipped to the range give a warning: tasks may then look the same.

    Returns:
        the means of the task, and the moments of this task alone.

    Raises:
        ConfigError: there are no such features of such inputs.
    """
    settings, size = build(empty.settings, Statistics), len(empty.scatter)
    features = features_of(network, examples.shape, empty)
    kept = classes if settings.per == "class" else 1
    sums, counts = torch.zeros(kept, size, dtype=torch.float64), torch.zeros(kept, dtype=torch.int64)
    scatter, beyond = torch.zeros(size, size, dtype=torch.float64), 0
    with computing_in(torch.float32, network.device), computing_in(torch.float32, _CPU):
        for inputs, targets in examples.batches(AT_ONCE):
            found, of = features.rounded(inputs), targets.cpu()
            if settings.per != "class":
                of = torch.zeros_like(of)
            if found.shape[1] != size:
                raise ConfigError(f"expected {size} features of each input as for the first task, got {found.shape[1]}")
            beyond += int((found.abs() > LEVELS).sum())
            found.clamp_(-LEVELS, LEVELS)
            counts += torch.bincount(of, minlength=kept)
            sums.index_add_(0, of, found.double())
            add_products(scatter, found)
    if (share := beyond / max(1, size * int(counts.sum()))) > CLIPPED:
        kind = type(settings.features).__name__
        reach = "" if _has_columns(settings.features) else ", or choose features that reach further, such as Columns()"
        warnings.warn(
            f"{share:.0%} of the features of a task lie outside of the range that {kind} has from the first task, and "
            f"are clipped to it, so tasks may look the same; scale the inputs of all tasks to a common range{reach}, "
            "and call learner.fit_router(tasks)",
            SupermasksWarning,
            stacklevel=2,
        )
    within = scatter.triu() - (sums.mT @ (sums / counts.clamp(min=1)[:, None])).triu()
    within = within.round_()
    within += within.triu(1).mT.clone()
    means = ClassMeans.rounded(empty.of, sums, counts, _TYPES[settings.bits])
    return means, Moments(empty.settings, empty.fitted, within, int(counts.sum()), (means.digest,))


def _has_columns(features: FeatureMap) -> bool:
    """Return whether a map is that of columns, or joins it with others."""
    if isinstance(features, Joined):
        return any(_has_columns(each) for each in features.maps)
    return isinstance(features, Columns)
