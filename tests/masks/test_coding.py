"""Coded masks: what comes back, how many bytes they take, and that damage is seen."""

from math import log2, prod

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from supermasks.errors import MaskError
from supermasks.masks import Mask, decode_mask, encode_mask

layers = st.lists(
    st.tuples(
        st.lists(st.integers(1, 9), min_size=1, max_size=4).map(tuple),
        st.sampled_from([0.0, 0.01, 0.1, 0.5, 0.9, 1.0]),
    ),
    max_size=4,
)


def make_mask(layers: list[tuple[tuple[int, ...], float]], seed: int = 0) -> Mask:
    rng = torch.Generator().manual_seed(seed)
    return Mask.pack({f"{n}": torch.rand(shape, generator=rng) < p for n, (shape, p) in enumerate(layers)})


@given(layers, st.integers(0, 10))
def test_any_mask_comes_back(layers: list[tuple[tuple[int, ...], float]], seed: int) -> None:
    mask = make_mask(layers, seed)
    words, kept = encode_mask(mask)
    assert words.dtype == torch.int32
    assert kept == {name: int(mask[name].sum()) for name in mask}
    assert decode_mask(words, kept, mask.shapes) == mask


@pytest.mark.parametrize("density", [0.0026, 0.075, 0.3, 0.5, 0.92])
def test_the_stream_takes_the_entropy_within_a_percent(density: float) -> None:
    mask = make_mask([((300, 400), density), ((64, 64, 3, 3), density / 2)])
    bound = 0.0
    for name, shape in mask.shapes.items():
        n, k = prod(shape), int(mask[name].sum())
        bound -= (k * log2(k / n) + (n - k) * log2(1 - k / n)) / 8
    assert bound <= 4 * len(encode_mask(mask)[0]) <= 1.01 * bound


def test_whole_and_empty_layers_cost_nothing() -> None:
    words, kept = encode_mask(make_mask([((30, 40), 1.0), ((30, 40), 0.0)]))
    assert (len(words), kept) == (0, {"0": 1200, "1": 0})


def test_damage_is_an_error_or_another_mask_of_the_same_counts() -> None:
    """A digest guards the files; a stream that is damaged all the same must not be read as what it is not."""
    mask = make_mask([((40, 50), 0.1), ((7, 5), 0.5)])
    words, kept = encode_mask(mask)
    seen = 0
    for n in range(len(words)):
        damaged = words.clone()
        damaged[n] ^= 1 << (n % 31)
        try:
            assert decode_mask(damaged, kept, mask.shapes).counts() == kept
        except MaskError:
            seen += 1
    assert seen > 0.9 * len(words)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda words, kept: (words[:-2], kept), "keeps"),
        (lambda words, kept: (words, {**kept, "0": kept["0"] + 1}), "keeps"),
        (lambda words, kept: (words, {**kept, "1": 36}), "cannot keep 36"),
        (lambda words, kept: (words, {**kept, "1": -1}), "cannot keep -1"),
        (lambda words, kept: (words, {"0": kept["0"]}), "a number for each of"),
        (lambda words, kept: (words.to(torch.int64), kept), "int32"),
        (lambda words, kept: (words, {**kept, "1": 35}), "behind its last entry"),
    ],
)
def test_a_stream_that_does_not_fit_is_an_error(change: object, message: str) -> None:
    mask = make_mask([((40, 50), 0.1), ((7, 5), 0.5)])
    words, kept = change(*encode_mask(mask))  # pyright: ignore
    with pytest.raises(MaskError, match=message):
        decode_mask(words, kept, mask.shapes)
