"""Masks whose bits have a price: the bits, their gradient, and fewer dropped weights at a higher price."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from states import begun

from supermasks import Network, Task
from supermasks.bases import RandomBase
from supermasks.errors import ConfigError
from supermasks.masks import Threshold
from supermasks.masks.prices import dropped_bits
from supermasks.methods import SupSup
from supermasks.methods.priced import Priced
from supermasks.nets import fully_connected
from supermasks.scores import Spread
from supermasks.training import Adam, Training, fit


def expected_bits(mask: np.ndarray) -> float:
    """By a loop over the dropped weights: each has the mean price of its row, its column and the total."""
    dropped = 1 - mask.reshape(len(mask), -1)
    rows, columns, total = dropped.sum(1), dropped.sum(0), dropped.sum()
    bits = 0.0
    for i, j in zip(*np.nonzero(dropped), strict=True):
        bits += np.log2(total + 0.5) + np.log2(np.e) - np.log2(rows[i] + 0.5) - np.log2(columns[j] + 0.5)
    return bits


@pytest.mark.parametrize("shape", [(6, 9), (4, 3, 3, 2), (7,)])
def test_bits_are_those_of_the_formula(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    masks = {name: (rng.random(shape) < p).astype(np.float64) for name, p in (("a", 0.9), ("b", 0.4), ("c", 1.0))}
    found = dropped_bits({name: torch.from_numpy(mask) for name, mask in masks.items()})
    assert float(found) == pytest.approx(sum(expected_bits(mask) for mask in masks.values()))


def test_the_gradient_is_that_of_finite_differences() -> None:
    rng = np.random.default_rng(1)
    mask = torch.from_numpy((rng.random((6, 9)) < 0.7).astype(np.float64)).requires_grad_()
    assert torch.autograd.gradcheck(lambda values: dropped_bits({"w": values}), (mask,))


def test_the_next_weight_is_cheaper_in_a_row_that_has_many() -> None:
    mask = torch.ones(50, 50)
    mask.fill_diagonal_(0)
    mask[3, :20] = 0
    mask.requires_grad_()
    (gradient,) = torch.autograd.grad(dropped_bits({"w": mask}), mask)
    price = -gradient
    assert price[3, 40] < price[10, 40]
    assert price[10, 5] < price[10, 40]
    assert float(price.min()) > 0


def dropped(method: SupSup, task: Task) -> int:
    session = begun(method, Network(fully_connected([8, 16, 6]), RandomBase(0)), task)
    fit(session, Training(60, 10, Adam(0.02)))
    masks = session.finish().changes.values()
    return sum(int((~change.used()).sum()) for change in masks)


def test_a_higher_price_drops_fewer_weights(blobs: Callable[..., Task]) -> None:
    task = blobs("t")
    free, *counts = (
        dropped(method, task)
        for method in (
            SupSup(Threshold(), Spread()),
            *(Priced(Threshold(), Spread(), price) for price in (0.0, 1e-4, 1e-1)),
        )
    )
    assert counts[0] == free
    assert counts[0] > counts[1] > counts[2]


@pytest.mark.parametrize("price", [-1.0, float("inf"), float("nan")])
def test_an_invalid_price_is_an_error(price: float) -> None:
    with pytest.raises(ConfigError, match="price of a bit"):
        Priced(price=price)
