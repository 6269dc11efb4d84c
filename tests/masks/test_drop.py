"""Masks that drop a given number of weights: which, how many, and the gradient."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from supermasks.errors import ConfigError, DensityError
from supermasks.masks import Annealed, Blocks, Drop, Groups, Inputs, Neurons

ties = st.lists(st.sampled_from([0.0, -0.0, 0.5, -0.5, 1.0, -2.0]), min_size=2, max_size=60)
values = st.one_of(ties, st.lists(st.floats(-1e3, 1e3, width=32), min_size=2, max_size=60))
SHAPES = {"linear": (7, 5), "conv": (5, 4, 3, 2), "gates": (6,)}


def random_scores(seed: int = 0, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=rng, dtype=dtype) for name, shape in SHAPES.items()}


@given(values, st.integers(0, 70), st.integers(1, 59))
def test_it_drops_exactly_the_lowest_of_the_network(scores: list[float], count: int, cut: int) -> None:
    first, second = torch.tensor(scores[:cut]), torch.tensor(scores[cut:])
    layers = {name: layer for name, layer in (("a", first), ("b", second)) if len(layer)}
    if count >= len(scores):
        with pytest.raises(DensityError, match=r"must keep something.*the network"):
            Drop(count).masks(layers)
        return
    masks = Drop(count).masks(layers)
    mask = np.concatenate([masks[name].numpy() for name in layers])
    assert set(mask.tolist()) <= {0.0, 1.0}
    # Which of equal scores are dropped is open; their values are not.
    lowest = np.sort(np.array(scores, dtype=np.float32))[:count]
    assert np.array_equal(np.sort(np.array(scores, dtype=np.float32)[mask == 0]), lowest)


@pytest.mark.parametrize("count", [0, 1, 100, 25_000, 90_000])
@pytest.mark.parametrize("kind", ["normal", "sorted", "equal", "two values"])
def test_large_networks_too(count: int, kind: str) -> None:
    """A sample tells where the lowest are, if they are few."""
    values = np.random.default_rng(0).standard_normal(200_000).astype(np.float32)
    if kind == "sorted":
        values = np.sort(values)
    elif kind != "normal":
        values = np.where(values > 1.5, -1.0, 0.0 if kind == "two values" else -1.0).astype(np.float32)
    mask = Drop(count).masks({"w": torch.from_numpy(values)})["w"].numpy()
    assert int((mask == 0).sum()) == count
    assert np.array_equal(np.sort(values[mask == 0]), np.sort(values)[:count])


def test_a_budget_of_the_network_goes_where_the_scores_are_low() -> None:
    scores = {"low": torch.full((10, 10), -1.0), "high": torch.ones(10, 10)}
    masks = Drop(50).masks(scores)
    assert {name: int(mask.sum()) for name, mask in masks.items()} == {"low": 50, "high": 100}
    masks = Drop(50, by_layer=True).masks(scores)
    assert {name: int(mask.sum()) for name, mask in masks.items()} == {"low": 50, "high": 50}


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (Drop(9), [9]),
        (Drop(share=0.1), [round(0.1 * 161)]),
        (Drop(share=0.1, by_layer=True), [4, 12, 1]),
        (Drop(3, by_layer=True), [3, 3, 3]),
        (Drop(3, of=Neurons()), [3]),
        (Drop(share=0.5, of=Inputs()), [5]),  # of 5 + 4 + 1
        (Drop(share=0.5, by_layer=True, of=Blocks(3, 2)), [4, 2, 1]),  # of 3 x 3, 2 x 2, 2 x 1
    ],
    ids=repr,
)
def test_how_many_are_dropped(rule: Drop, expected: list[int]) -> None:
    assert rule.dropped(SHAPES) == expected
    masks = rule.masks(random_scores())
    if rule.of is None:
        dropped = [int((mask == 0).sum()) for mask in masks.values()]
        assert (dropped if rule.by_layer else [sum(dropped)]) == expected


def test_densities_are_known_by_layer() -> None:
    assert Drop(7, by_layer=True).densities({"a": (7, 2), "b": (4, 7)}) == {"a": 0.5, "b": 0.75}
    assert Drop(7).densities({"a": (7, 2)}) is None
    assert Drop(1, by_layer=True, of=Neurons()).densities({"a": (7, 2)}) is None


def labelled(of: Groups, shape: tuple[int, ...]) -> np.ndarray:
    """The number of the block of each weight, by plain loops."""
    rows, columns = shape[0], shape[1] if len(shape) > 1 else 1
    high, wide = (1, columns) if isinstance(of, Neurons) else (rows, 1)
    if isinstance(of, Blocks):
        high, wide = of.rows or rows, of.columns or columns
    labels = np.zeros(shape, dtype=np.int64).reshape(rows, columns, -1)
    for row in range(rows):
        for column in range(columns):
            labels[row, column] = row // high * -(-columns // wide) + column // wide
    return labels.reshape(shape)


GROUPS = [Neurons(), Inputs(), Blocks(2, 3), Blocks(rows=3), Blocks(columns=2), Blocks(1, 1), Blocks(100, 100)]


@pytest.mark.parametrize("of", GROUPS, ids=repr)
@pytest.mark.parametrize("name", SHAPES)
def test_blocks_are_those_of_a_plain_loop(of: Groups, name: str) -> None:
    shape, scores = SHAPES[name], random_scores(1, torch.float64)[name]
    labels = labelled(of, shape)
    assert of.count(shape) == labels.max() + 1
    means = of.means(scores).flatten().numpy()
    expected = [scores.numpy()[labels == label].mean() for label in range(labels.max() + 1)]
    np.testing.assert_allclose(means, expected)
    spread = of.spread(torch.arange(of.count(shape)).view(of.means(scores).shape), shape)
    assert np.array_equal(spread.numpy(), labels)


@pytest.mark.parametrize("of", GROUPS[:-1], ids=repr)
def test_whole_groups_with_the_lowest_means_are_dropped(of: Groups) -> None:
    scores = random_scores(2, torch.float64)
    masks, means, kept = Drop(2, of=of).masks(scores), list[float](), list[bool]()
    for name, score in scores.items():
        labels = labelled(of, SHAPES[name])
        for label in range(labels.max() + 1):
            bits = masks[name].numpy()[labels == label]
            assert bits.min() == bits.max()
            kept.append(bool(bits[0]))
            means.append(float(score.numpy()[labels == label].mean()))
    assert sorted(np.flatnonzero(~np.array(kept))) == sorted(np.argsort(means)[:2])


@pytest.mark.parametrize(
    "rule", [Drop(30), Drop(3, by_layer=True), Drop(2, of=Neurons()), Drop(3, of=Blocks(2, 2))], ids=repr
)
def test_the_gradient_is_that_of_the_mask(rule: Drop) -> None:
    """With `L = |x (W M)' - y|^2`: `dL/dM = 2 (x E' - y)' x * W`, and its mean over each group."""
    rng = torch.Generator().manual_seed(3)
    weight, inputs, wanted = (
        torch.randn(size, generator=rng, dtype=torch.float64) for size in ((7, 5), (9, 5), (9, 7))
    )
    scores = torch.randn(7, 5, generator=rng, dtype=torch.float64).requires_grad_()
    effective = rule.masked({"w": weight}, {"w": scores})["w"]
    ((inputs @ effective.T - wanted) ** 2).sum().backward()
    expected = (2 * (inputs @ effective.detach().T - wanted).T @ inputs * weight).numpy()
    if rule.of is not None:
        labels = labelled(rule.of, (7, 5))
        means = [expected[labels == label].mean() for label in range(labels.max() + 1)]
        expected = np.array(means)[labels]
    assert scores.grad is not None
    np.testing.assert_allclose(scores.grad.numpy(), expected)


def test_annealed_budgets_follow_their_formula() -> None:
    rule = Annealed(Drop(1000), start=5.0, until=0.8)
    for progress in np.linspace(0, 1, 23):
        factor = 1 + 4 * (1 - progress / 0.8) ** 3 if progress < 0.8 else 1
        assert rule.at(float(progress)) == Drop(round(1000 * factor))
    assert Annealed(Drop(share=0.01)).at(0.0) == Drop(share=0.0)
    assert Annealed(Drop(share=0.01, by_layer=True), start=4.0).at(0.0) == Drop(share=0.04, by_layer=True)
    assert Annealed(Drop(8, of=Neurons()), start=0.5).at(0.0) == Drop(4, of=Neurons())


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Drop(), ConfigError, r"either a count or a share.*write Drop\(1000\)"),
        (lambda: Drop(3, 0.1), ConfigError, "count=3 and share=0.1"),
        (lambda: Drop(0.1), ConfigError, "count of Drop must be an integer or None, got 0.1"),
        (lambda: Drop(-1), ConfigError, "got -1"),
        (lambda: Drop(share=1.0), DensityError, "below 1, got 1"),
        (lambda: Drop(share=-0.1), DensityError, "got -0.1"),
        (lambda: Drop(of=Neurons), ConfigError, r"call it: Neurons\("),
        (lambda: Drop(6, by_layer=True).densities(SHAPES), DensityError, "layer 'gates'"),
        (lambda: Drop(18, of=Neurons()).densities(SHAPES), DensityError, r"18 groups of weights of the 18"),
        (lambda: Blocks(), ConfigError, "rows=None and columns=None"),
        (lambda: Blocks(0, 3), ConfigError, "rows=0"),
        (lambda: Annealed(Drop(3), -1.0), ConfigError, "start must be"),
        (lambda: Annealed(Drop(3), until=0.0), ConfigError, "until must be"),
        (lambda: Annealed(Drop(share=0.3), 4.0), DensityError, "below 1, got 1.2"),
        (lambda: Annealed(Drop(80), 4.0).densities(SHAPES), DensityError, "drops 320 weights of the 161"),
    ],
)
def test_settings_that_cannot_work_are_errors(make: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()  # pyright: ignore
