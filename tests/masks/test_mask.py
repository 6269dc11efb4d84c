from math import prod

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st

from supermasks.errors import MaskError
from supermasks.masks import Mask

SHAPES = {"a": (3, 5), "b": (2, 2, 3, 1), "c": (8,)}
Entries = dict[str, np.ndarray]


@st.composite
def entries(draw: st.DrawFn) -> Entries:
    return {
        name: np.array(draw(st.lists(st.booleans(), min_size=prod(s), max_size=prod(s)))).reshape(s)
        for name, s in SHAPES.items()
    }


def packed(values: Entries) -> Mask:
    return Mask.pack({name: torch.from_numpy(value) for name, value in values.items()})


def members(values: Entries) -> set[tuple[str, int]]:
    return {(name, n) for name, value in values.items() for n in np.flatnonzero(value).tolist()}


def of_mask(mask: Mask) -> set[tuple[str, int]]:
    return members({name: mask[name].numpy() for name in mask})


@given(entries(), entries())
def test_masks_combine_like_sets(x: Entries, y: Entries) -> None:
    a, b, left, right = packed(x), packed(y), members(x), members(y)
    assert of_mask(a) == left
    assert of_mask(a & b) == left & right
    assert of_mask(a | b) == left | right
    assert of_mask(a - b) == left - right
    assert a.overlap(b) == (len(left & right) / len(left) if left else 0.0)
    assert (a == b) == (left == right)
    assert (a - b) | (a & b) == a


@given(entries())
def test_numbers_of_a_mask_are_those_of_the_dense_arrays(x: Entries) -> None:
    mask = packed(x)
    assert list(mask) == list(x)
    assert mask.shapes == SHAPES
    assert mask.size() == 3 * 5 + 12 + 8
    assert mask.count() == sum(int(value.sum()) for value in x.values())
    assert mask.counts() == {name: int(value.sum()) for name, value in x.items()}
    assert mask.density() == pytest.approx(np.concatenate([v.flatten() for v in x.values()]).mean())
    assert mask.nbytes() == 2 + 2 + 1
    entropy = sum(v.size * scipy.stats.entropy([v.mean(), 1 - v.mean()], base=2) / 8 for v in x.values())
    assert mask.entropy_bytes() == pytest.approx(entropy)
    for name, value in x.items():
        assert mask[name].dtype == torch.bool
        assert np.array_equal(mask[name].numpy(), value)
        assert mask.packed[name].tolist() == np.packbits(value.flatten(), bitorder="little").tolist()


def test_entropy_of_an_even_mask_is_a_bit_an_entry_and_of_a_full_one_nothing() -> None:
    even = Mask.pack({"w": torch.tensor([True, False] * 40)})
    assert even.entropy_bytes() == pytest.approx(10.0)
    assert Mask.pack({"w": torch.ones(80, dtype=torch.bool)}).entropy_bytes() == 0
    # A tenth kept: h(0.1) = 0.468996 bits.
    tenth = Mask.pack({"w": torch.arange(80) < 8})
    assert tenth.entropy_bytes() == pytest.approx(80 * 0.4689955936 / 8)


def test_a_mask_does_not_change_with_what_it_was_made_from_or_what_it_returned() -> None:
    source = torch.tensor([True, False, True])
    bits = torch.tensor([5], dtype=torch.uint8)
    shapes = {"w": (3,)}
    from_entries, from_bits = Mask.pack({"w": source}), Mask({"w": bits}, shapes)
    source.zero_()
    bits.zero_()
    shapes["w"] = (1, 3)
    for mask in (from_entries, from_bits):
        mask.packed["w"].zero_()
        mask.packed.clear()
        mask["w"].zero_()
        mask.shapes["w"] = (7,)
        assert mask["w"].tolist() == [True, False, True]
        assert mask.shapes == {"w": (3,)}


def test_combining_leaves_both_masks_as_they_were() -> None:
    a, b = Mask.pack({"w": torch.tensor([True, True])}), Mask.pack({"w": torch.tensor([False, True])})
    _ = a & b, a | b, a - b
    assert a["w"].tolist() == [True, True]
    assert b["w"].tolist() == [False, True]


@pytest.mark.parametrize("entries", [1, 5, 7, 9, 15])
def test_bits_after_the_end_are_refused(entries: int) -> None:
    good = torch.full((-(-entries // 8),), 255, dtype=torch.uint8)
    good[-1] = (1 << entries % 8) - 1
    assert Mask({"w": good}, {"w": (entries,)}).count() == entries
    for bit in range(entries % 8, 8):
        bad = good.clone()
        bad[-1] |= 1 << bit
        with pytest.raises(MaskError, match="bits set after"):
            Mask({"w": bad}, {"w": (entries,)})


@pytest.mark.parametrize(
    ("packed_bits", "shapes"),
    [
        ({"w": torch.zeros(2, dtype=torch.uint8)}, {"w": (8,)}),
        ({"w": torch.zeros(1, dtype=torch.uint8)}, {"w": (9,)}),
        ({"w": torch.zeros(1, 1, dtype=torch.uint8)}, {"w": (8,)}),
        ({"w": torch.zeros(1, dtype=torch.int64)}, {"w": (8,)}),
        ({"w": torch.zeros(1, dtype=torch.uint8)}, {"v": (8,)}),
        ({"w": torch.zeros(1, dtype=torch.uint8)}, {}),
        ({}, {"w": (8,)}),
    ],
)
def test_bits_that_do_not_fit_their_shapes_are_refused(packed_bits: dict, shapes: dict) -> None:
    with pytest.raises(MaskError):
        Mask(packed_bits, shapes)


def test_masks_over_other_parameters_do_not_combine() -> None:
    a = Mask.pack({"w": torch.ones(8, dtype=torch.bool)})
    for other in ({"v": torch.ones(8, dtype=torch.bool)}, {"w": torch.ones(2, 4, dtype=torch.bool)}):
        b = Mask.pack(other)
        assert a != b
        for combine in (Mask.__and__, Mask.__or__, Mask.__sub__, Mask.overlap):
            with pytest.raises(MaskError, match="same parameters"):
                combine(a, b)


def test_an_unknown_parameter_is_an_error() -> None:
    with pytest.raises(MaskError, match="no parameter 'v'"):
        Mask.pack({"w": torch.ones(1, dtype=torch.bool)})["v"]


def test_masks_compare_by_value_and_are_not_hashable() -> None:
    mask = Mask.pack({"w": torch.tensor([True, False])})
    assert mask == Mask.pack({"w": torch.tensor([True, False])})
    assert mask != Mask.pack({"w": torch.tensor([True, True])})
    assert mask != "mask"
    with pytest.raises(TypeError):
        hash(mask)


def test_scores_are_not_taken_for_a_mask() -> None:
    with pytest.raises(MaskError, match="boolean"):
        Mask.pack({"w": torch.ones(3)})


def test_the_representation_says_how_many_weights_are_kept() -> None:
    assert repr(Mask.pack({"w": torch.tensor([True, False, True])})) == "Mask(2 of 3 weights in 1 parameters)"
