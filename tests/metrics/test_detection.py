"""How well known inputs are told from foreign ones, against scikit-learn."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from supermasks.errors import ConfigError
from supermasks.metrics import auroc


@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 40), st.integers(0, 2**20))
def test_the_area_is_that_of_scikit_learn(known: int, foreign: int, values: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    numbers = rng.integers(0, values, known + foreign) / values  # with ties
    truth = np.arange(known + foreign) < known
    assert auroc(numbers[truth], numbers[~truth]) == pytest.approx(roc_auc_score(truth, numbers))


@pytest.mark.parametrize(("known", "foreign"), [([], [1.0]), ([1.0], []), ([np.nan], [1.0]), ([1.0], [np.nan])])
def test_nothing_and_no_numbers_are_refused(known: list[float], foreign: list[float]) -> None:
    with pytest.raises(ConfigError, match="each need at least one"):
        auroc(np.array(known), np.array(foreign))
