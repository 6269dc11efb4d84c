"""Coded masks: what comes back, how many bytes they take, and that damage is seen."""

from math import log2

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from supermasks.errors import MaskError
from supermasks.masks import Mask, decode_mask, encode_mask, is_relative

densities = st.sampled_from([0.0, 0.01, 0.1, 0.5, 0.9, 1.0])
layers = st.lists(st.tuples(st.lists(st.integers(1, 9), min_size=1, max_size=4).map(tuple), densities), max_size=4)


def make_mask(layers: list[tuple[tuple[int, ...], float]], seed: int = 0) -> Mask:
    rng = torch.Generator().manual_seed(seed)
    return Mask.pack({f"{n}": torch.rand(shape, generator=rng) < p for n, (shape, p) in enumerate(layers)})


def flipped(mask: Mask, fraction: float, seed: int = 1) -> Mask:
    rng = torch.Generator().manual_seed(seed)
    return Mask.pack({n: mask[n] ^ (torch.rand(mask.shapes[n], generator=rng) < fraction) for n in mask})


def entropy_bytes(parts: list[Tensor]) -> float:
    total = 0.0
    for part in parts:
        n, k = part.numel(), int(part.sum())
        if 0 < k < n:
            total -= (k * log2(k / n) + (n - k) * log2(1 - k / n)) / 8
    return total


@given(layers, st.integers(0, 10), st.sampled_from([None, 0.0, 0.02, 0.5]))
def test_any_mask_comes_back(layers: list[tuple[tuple[int, ...], float]], seed: int, changed: float | None) -> None:
    mask = make_mask(layers, seed)
    reference = None if changed is None else flipped(mask, changed, seed)
    code = encode_mask(mask, reference)
    assert code.dtype == torch.uint8
    assert decode_mask(code, mask.shapes, reference) == mask
    if not is_relative(code):
        assert decode_mask(code, mask.shapes) == mask


@pytest.mark.parametrize("density", [0.003, 0.0075, 0.075, 0.3, 0.5, 0.92])
def test_the_code_takes_the_entropy_within_a_percent(density: float) -> None:
    mask = make_mask([((300, 400), density), ((256, 256, 3, 3), density / 2)])
    bound = entropy_bytes([mask[name] for name in mask])
    assert bound == pytest.approx(mask.entropy_bytes())
    assert bound <= len(encode_mask(mask)) <= 1.01 * bound


@pytest.mark.parametrize(("density", "changed"), [(0.5, 0.03), (0.05, 0.01), (0.05, 0.0)])
def test_relative_to_a_mask_like_it_the_code_takes_the_conditional_entropy(density: float, changed: float) -> None:
    reference = make_mask([((300, 400), density), ((128, 64, 3, 3), density / 2)])
    mask = flipped(reference, changed)
    parts = [mask[n][reference[n] == kept] for n in mask for kept in (True, False)]
    code = encode_mask(mask, reference)
    assert is_relative(code)
    assert entropy_bytes(parts) <= len(code) <= 1.01 * entropy_bytes(parts) + 20
    assert len(code) < 0.5 * len(encode_mask(mask))
    assert decode_mask(code, mask.shapes, reference) == mask


def test_a_reference_that_does_not_help_is_not_used() -> None:
    mask = make_mask([((300, 400), 0.1)])
    code = encode_mask(mask, make_mask([((300, 400), 0.1)], seed=1))
    assert not is_relative(code)
    assert torch.equal(code, encode_mask(mask))


def test_where_coding_saves_nothing_it_is_a_bit_a_weight() -> None:
    mask = make_mask([((301, 5), 0.5)])
    assert encode_mask(mask).tolist() == [0, *mask.packed["0"].tolist()]


def test_whole_and_empty_layers_cost_nothing() -> None:
    assert len(encode_mask(make_mask([((30, 40), 1.0), ((30, 40), 0.0)]))) <= 10


def test_a_mask_without_parameters_takes_nothing() -> None:
    code = encode_mask(Mask({}, {}))
    assert len(code) == 0
    assert decode_mask(code, {}) == Mask({}, {})
    with pytest.raises(MaskError, match="uint8"):
        decode_mask(code, {"0": (2, 3)})


def test_damage_is_an_error_or_another_mask() -> None:
    """A digest guards the files; a code that is damaged all the same must not crash nor hang."""
    mask = make_mask([((40, 50), 0.1), ((7, 5), 0.5)])
    reference = flipped(mask, 0.01)
    for given_to_both in (None, reference):
        code, seen = encode_mask(mask, given_to_both), 0
        for n in range(len(code)):
            for bit in range(8):
                damaged = code.clone()
                damaged[n] ^= 1 << bit
                try:
                    assert decode_mask(damaged, mask.shapes, reference) != mask
                except MaskError:
                    seen += 1
        assert seen > 0.9 * 8 * len(code)
        for length in range(len(code)):
            with pytest.raises(MaskError):
                decode_mask(code[:length], mask.shapes, reference)


SHAPES = {"0": (40, 50), "1": (7, 5)}


@pytest.mark.parametrize(
    ("code", "shapes", "message"),
    [
        (lambda code: code.to(torch.int32), SHAPES, "uint8"),
        (lambda code: code[:0], SHAPES, "uint8"),
        (lambda code: code.view(-1, 1), SHAPES, "uint8"),
        (lambda code: torch.cat([torch.tensor([6], dtype=torch.uint8), code[1:]]), SHAPES, "got 6"),
        (lambda code: torch.cat([torch.tensor([0], dtype=torch.uint8), code[1:]]), SHAPES, "expected a mask of"),
        (lambda code: torch.cat([torch.tensor([2], dtype=torch.uint8), code[1:]]), SHAPES, "as reference"),
        (lambda code: code, {"0": (40, 50)}, "damaged|cut off|keep|after"),
        (lambda code: code, {"0": (4, 5), "1": (7, 5)}, "more than the parameters have"),
        (lambda code: torch.cat([code, code[-4:]]), SHAPES, "damaged|keep|after"),
        (lambda code: torch.full((30,), 255, dtype=torch.uint8).index_fill(0, torch.tensor([0]), 1), SHAPES, "cut off"),
    ],
)
def test_a_code_that_does_not_fit_is_an_error(code: object, shapes: dict[str, tuple[int, ...]], message: str) -> None:
    made = encode_mask(make_mask([((40, 50), 0.1), ((7, 5), 0.5)]))
    with pytest.raises(MaskError, match=message):
        decode_mask(code(made), shapes)  # pyright: ignore


def test_a_reference_over_other_parameters_is_refused() -> None:
    mask, other = make_mask([((40, 50), 0.1)]), make_mask([((50, 40), 0.1)])
    with pytest.raises(MaskError, match="expected a reference"):
        encode_mask(mask, other)
    code = encode_mask(mask, flipped(mask, 0.001))
    assert is_relative(code)
    for reference in (None, other):
        with pytest.raises(MaskError, match="as reference"):
            decode_mask(code, mask.shapes, reference)
