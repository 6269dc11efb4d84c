"""How well a number tells inputs of known tasks from foreign ones."""

from typing import Any

import numpy as np
import numpy.typing as npt

from supermasks.errors import ConfigError


def auroc(known: npt.NDArray[np.floating[Any]], foreign: npt.NDArray[np.floating[Any]]) -> float:
    """Return the probability that a known input has a larger number than a foreign one, equal ones counted half.

    That is the area under the curve of true against false alarms over all thresholds: 1 where one threshold tells all
    of them apart, 1/2 where the number says nothing.

    Args:
        known: a number for each known input.
        foreign: a number for each foreign input.

    Raises:
        ConfigError: one of the two is empty, or has an entry that is not a number.

    Example:
        >>> auroc(np.array([3.0, 2.0]), np.array([1.0, 2.0]))
        0.875
    """
    if not known.size or not foreign.size or np.isnan(known).any() or np.isnan(foreign).any():
        raise ConfigError("known and foreign inputs each need at least one, and numbers for all, to be told apart")
    ordered = np.sort(foreign)
    below, equal_too = np.searchsorted(ordered, known), np.searchsorted(ordered, known, side="right")
    return float((below + equal_too).mean() / 2 / len(foreign))
