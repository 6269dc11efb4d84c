"""What every base keeps to; a new base, or initialisation, joins with one row."""

from collections.abc import Callable

import pytest
import torch

from supermasks import Learner, Network, Task
from supermasks.bases import BASES, INITIALISATIONS, Base, RandomBase, base_from_recipe, fingerprint
from supermasks.nets import fully_connected
from supermasks.spec import describe
from supermasks.training import RMSprop, Training

ROWS: list[Base] = [RandomBase(4, name) for name in INITIALISATIONS]
SHAPES = {"linear": (30, 20), "line": (6, 4, 5), "image": (8, 4, 3, 3), "volume": (3, 2, 2, 2, 2), "thin": (1, 1)}

rows = pytest.mark.parametrize("base", ROWS, ids=repr)


def test_every_base_has_a_row() -> None:
    assert {type(base) for base in ROWS} == set(BASES)


@rows
def test_weights_are_finite_floats_of_the_wanted_shapes(base: Base) -> None:
    weights = base.weights(SHAPES)
    assert {name: tuple(weight.shape) for name, weight in weights.items()} == SHAPES
    for weight in weights.values():
        assert weight.dtype == torch.float32
        assert torch.isfinite(weight).all()
        assert (weight != 0).any()
        assert not weight.requires_grad


@rows
def test_every_call_gives_the_same_weights_in_memory_of_its_own(base: Base) -> None:
    first = base.weights(SHAPES)
    expected = fingerprint(first)
    for weight in first.values():
        weight.zero_()
    assert fingerprint(base.weights(SHAPES)) == expected
    assert fingerprint(base.weights(dict(reversed(SHAPES.items())))) == expected


@rows
def test_a_base_is_a_value_that_is_stored(base: Base) -> None:
    back = base_from_recipe(describe(base))
    assert back == base
    assert hash(back) == hash(base)
    assert Network(fully_connected([4, 3]), back).fingerprint == Network(fully_connected([4, 3]), base).fingerprint


@rows
def test_a_mask_over_it_learns(base: Base, blobs: Callable[..., Task]) -> None:
    learner = Learner(fully_connected([8, 64, 6]), base=base, training=Training(100, 16, RMSprop(1e-2)))
    task = blobs("t")
    learner.learn(task)
    assert task.test is not None
    assert learner.accuracy(task.test, "t") > 0.9
