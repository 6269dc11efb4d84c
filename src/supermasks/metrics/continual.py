"""Measures of continual learning, from the matrix of accuracies `A[i, j]` on task `j` after learning task `i`.

What was not measured is NaN; each task is, after it was learned (the diagonal), and all are at the end (the last row).
"""

import numpy as np
import numpy.typing as npt

from supermasks.errors import ConfigError

Matrix = npt.NDArray[np.float64]


def average_accuracy(matrix: npt.ArrayLike) -> float:
    """Return the mean accuracy after the last task, `1/N sum_j A[N, j]` (ExSSNeT, Section 4.1).

    Args:
        matrix: `N x N`; entries above the diagonal are not used.

    Raises:
        ConfigError: the matrix is not square, or an entry that is needed is missing.

    Example:
        >>> average_accuracy([[1.0, 0.0], [0.5, 1.0]])
        0.75
    """
    return float(_checked(matrix)[-1].mean())


def accuracy_so_far(matrix: npt.ArrayLike) -> list[float]:
    """Return after each task the mean accuracy on all tasks learned so far, `1/i sum_{j<=i} A[i, j]` (Figure 6).

    Args:
        matrix: `N x N`; entries above the diagonal are not used.

    Returns:
        `N` numbers, NaN for rows that were not measured.

    Raises:
        ConfigError: the matrix is not square, or an entry that is needed is missing.

    Example:
        >>> accuracy_so_far([[1.0, 0.0], [0.5, 0.75]])
        [1.0, 0.625]
    """
    a = _checked(matrix)
    return [float(a[i, : i + 1].mean()) for i in range(len(a))]


def forgetting(matrix: npt.ArrayLike) -> float:
    """Return how far accuracies fell from their best, the definition of Chaudhry et al. used by ExSSNeT (Section 4.1).

    `1/(N-1) sum_{j<N} (max_{j<=i<N} A[i, j] - A[N, j])`; 0 for a single task, negative if tasks only improved. The
    formula of ExSSNeT also has the accuracies before a task was learned in its maximum; these are not measured here.

    Args:
        matrix: `N x N`; entries above the diagonal are not used.

    Raises:
        ConfigError: the matrix is not square, or an entry that is needed is missing.

    Example:
        >>> forgetting([[1.0, 0.0], [0.5, 1.0]])
        0.5
    """
    a = _checked(matrix)
    if len(a) == 1:
        return 0.0
    return float(np.mean([np.nanmax(a[j:-1, j]) - a[-1, j] for j in range(len(a) - 1)]))


def backward_transfer(matrix: npt.ArrayLike) -> float:
    """Return how accuracies changed since each task was learned, BWT of Lopez-Paz and Ranzato (2017).

    `1/(N-1) sum_{j<N} (A[N, j] - A[j, j])`; 0 for a single task, negative where tasks were forgotten.

    Args:
        matrix: `N x N`; entries above the diagonal are not used.

    Raises:
        ConfigError: the matrix is not square, or an entry that is needed is missing.

    Example:
        >>> backward_transfer([[1.0, 0.0], [0.5, 1.0]])
        -0.5
    """
    a = _checked(matrix)
    if len(a) == 1:
        return 0.0
    return float(np.mean([a[-1, j] - a[j, j] for j in range(len(a) - 1)]))


def _checked(matrix: npt.ArrayLike) -> Matrix:
    a = np.asarray(matrix, dtype=np.float64)
    if a.ndim != 2 or a.shape[0] != a.shape[1] or not len(a):
        raise ConfigError(f"accuracies must be a square matrix, a row for each learned task, got the shape {a.shape}")
    if np.isnan(np.diag(a)).any() or np.isnan(a[-1]).any():
        raise ConfigError(
            "the matrix has missing accuracies on its diagonal or in its last row; evaluate each task after it was "
            "learned, and all of them at the end"
        )
    return a
