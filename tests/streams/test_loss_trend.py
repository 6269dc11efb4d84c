"""The trend of losses against numpy, and against normal numbers of known deviation."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from supermasks.streams import LossTrend


def trend_of(values: list[float]) -> LossTrend:
    trend = LossTrend()
    for value in values:
        trend = trend.plus(value)
    return trend


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=100))
def test_level_and_noise_are_medians_of_the_last_losses(values: list[float]) -> None:
    trend = trend_of(values)
    assert trend.count == len(values)
    assert trend.last == tuple(values[-70:])
    assert trend.level == pytest.approx(np.median(values[-10:]))
    differences = np.abs(np.diff(values[-21:]))
    expected = 1.4826 / np.sqrt(2) * np.median(differences) if len(differences) else 0.0
    assert trend.noise == pytest.approx(expected)


def test_the_noise_of_normal_losses_is_their_standard_deviation() -> None:
    rng = np.random.default_rng(0)
    found = [trend_of(list(rng.normal(1.0, 0.3, 21))).noise for _ in range(300)]
    assert np.median(found) == pytest.approx(0.3, rel=0.1)


def test_a_falling_loss_is_not_noise() -> None:
    assert trend_of([4.0 - 0.05 * n for n in range(40)]).noise < 0.06


@given(st.lists(st.floats(-10, 10), min_size=30, max_size=70), st.integers(0, 20))
def test_a_trend_without_its_last_losses_is_that_before_them(values: list[float], count: int) -> None:
    assert trend_of(values).without(count) == trend_of(values[: len(values) - count])


def test_surprise_counts_standard_deviations_of_at_least_the_least() -> None:
    steady = trend_of([1.0] * 30)
    assert steady.surprise(3.0, least=0.5) == 4.0
    assert trend_of([1.0, 2.0] * 15).surprise(1.5 + 1.4826 / np.sqrt(2), least=0.1) == pytest.approx(1.0)
    assert LossTrend().surprise(1.0, least=0.1) == 10.0
