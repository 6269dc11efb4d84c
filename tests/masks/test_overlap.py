"""Overlaps against sets of Python."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from supermasks.errors import MaskError
from supermasks.masks import Mask, sparse_overlap, total_overlap

sets = st.lists(st.sets(st.integers(0, 19), min_size=1), min_size=1, max_size=6)


def mask_of(kept: set[int]) -> Mask:
    entries = torch.zeros(20, dtype=torch.bool)
    entries[sorted(kept)] = True
    return Mask.pack({"a": entries[:8].view(2, 4), "b": entries[8:]})


@given(sets)
def test_they_are_those_of_sets(kept: list[set[int]]) -> None:
    masks = [mask_of(one) for one in kept]
    expected = [len(one & set().union(*kept[:i])) / len(one) for i, one in enumerate(kept)]
    assert sparse_overlap(masks) == pytest.approx(expected)
    union = set().union(*kept)
    shared = {n for n in union if sum(n in one for one in kept) > 1}
    assert total_overlap(masks) == pytest.approx(len(shared) / len(union))


def test_random_masks_overlap_as_the_formula_says() -> None:
    rng = torch.Generator().manual_seed(0)
    masks = [Mask.pack({"w": torch.rand(200_000, generator=rng) < 0.1}) for _ in range(5)]
    assert sparse_overlap(masks) == pytest.approx([1 - 0.9**i for i in range(5)], abs=0.01)
    # Of weights that are kept at all: 1 - P(exactly one) / P(at least one).
    assert total_overlap(masks) == pytest.approx(1 - 5 * 0.1 * 0.9**4 / (1 - 0.9**5), abs=0.01)


def test_no_masks_share_nothing() -> None:
    empty = Mask.pack({"w": torch.zeros(3, dtype=torch.bool)})
    assert sparse_overlap([]) == []
    assert total_overlap([]) == total_overlap([empty, empty]) == 0.0
    with pytest.raises(MaskError):
        sparse_overlap([empty, mask_of({1})])
