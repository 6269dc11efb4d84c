"""The router by mean inputs against scikit-learn's nearest centroid."""

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestCentroid

from supermasks.data.permuted import Permute
from supermasks.errors import InputError
from supermasks.metrics import MeanInputRouter, mean_input
from supermasks.types import Examples


def test_it_is_the_nearest_centroid() -> None:
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(90, 2, 3)).astype(np.float32) + np.repeat(np.arange(3), 30)[:, None, None]
    labels = np.repeat(np.arange(3), 30)
    means = [torch.from_numpy(inputs[labels == n].mean(axis=0)) for n in range(3)]
    expected = NearestCentroid().fit(inputs.reshape(90, -1), labels).predict(inputs.reshape(90, -1))
    assert MeanInputRouter(means).route(torch.from_numpy(inputs)).tolist() == expected.tolist()


def test_the_mean_is_of_what_the_task_sees() -> None:
    inputs = torch.arange(12.0).view(4, 3)
    order = torch.tensor([2, 0, 1])
    mean = mean_input(Examples(inputs, torch.zeros(4, dtype=torch.int64), Permute(order)), chunk=3)
    assert torch.equal(mean, inputs.mean(dim=0)[order])


def test_another_shape_is_refused() -> None:
    with pytest.raises(InputError, match="3 entries"):
        MeanInputRouter([torch.zeros(3)]).route(torch.zeros(2, 4))
