"""Measures of continual learning against their formulas, worked out by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from supermasks.errors import ConfigError
from supermasks.metrics import accuracy_so_far, average_accuracy, backward_transfer, forgetting

MATRIX = [[0.9, math.nan, math.nan], [0.95, 0.8, math.nan], [0.7, 0.6, 0.85]]


def test_worked_example() -> None:
    assert average_accuracy(MATRIX) == pytest.approx((0.7 + 0.6 + 0.85) / 3)
    assert forgetting(MATRIX) == pytest.approx(((0.95 - 0.7) + (0.8 - 0.6)) / 2)
    assert accuracy_so_far(MATRIX) == pytest.approx([0.9, (0.95 + 0.8) / 2, (0.7 + 0.6 + 0.85) / 3])
    assert backward_transfer(MATRIX) == pytest.approx(((0.7 - 0.9) + (0.6 - 0.8)) / 2)


def test_one_task_cannot_be_forgotten() -> None:
    assert forgetting([[0.4]]) == backward_transfer([[0.4]]) == 0.0


@given(arrays(float, st.integers(2, 6).map(lambda n: (n, n)), elements=st.floats(0, 1)))
def test_forgetting_is_at_least_the_loss_since_learning(matrix: np.ndarray) -> None:
    assert forgetting(matrix) >= -backward_transfer(matrix) - 1e-12 or forgetting(matrix) == pytest.approx(
        -backward_transfer(matrix)
    )
    constant = np.tile(matrix[0], (len(matrix), 1))
    assert forgetting(constant) == backward_transfer(constant) == 0.0


@pytest.mark.parametrize("bad", [[[0.5, 0.5]], [], [[math.nan]], [[0.5, math.nan], [math.nan, 0.5]]])
def test_what_is_missing_is_said(bad: list[list[float]]) -> None:
    for measure in (accuracy_so_far, average_accuracy, forgetting, backward_transfer):
        with pytest.raises(ConfigError):
            measure(bad)
