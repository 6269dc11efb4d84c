"""Products of rows with packed masks, against float64."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import supermasks.masks.products as products
from supermasks.errors import MaskError
from supermasks.masks import BitIndex, listed_products, mask_products


def draw(rows: int, masks: int, entries: int, seed: int) -> tuple[torch.Tensor, list[np.ndarray], torch.Tensor]:
    """Rows of very different magnitudes, packed masks, and the masks as float64."""
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((rows, entries)) * np.exp(3 * rng.standard_normal((rows, entries)))
    kept = rng.random((masks, entries)) < rng.random((masks, 1))
    packed = [np.packbits(mask, bitorder="little") for mask in kept]
    return torch.from_numpy(values).float(), packed, torch.from_numpy(kept).double()


def close(got: torch.Tensor, rows: torch.Tensor, masks: torch.Tensor) -> None:
    """As precise as sums in float32 are, beside the largest entry of the row."""
    expected = rows.double() @ masks.T
    bound = 3e-7 * rows.double().abs().amax(dim=1, keepdim=True) * rows.shape[1] ** 0.5 + 1e-6 * expected.abs()
    assert bool(((got.double() - expected).abs() <= bound).all())


sizes = st.integers(1, 300)


@given(st.integers(1, 5), st.integers(1, 70), sizes, st.integers(0, 2**20))
def test_sums_are_those_of_floats(rows: int, masks: int, entries: int, seed: int) -> None:
    values, packed, kept = draw(rows, masks, entries, seed)
    got = mask_products(values, packed)
    assert got.shape == (rows, masks)
    assert got.dtype == torch.float32
    close(got, values, kept)


@given(sizes, st.integers(0, 2**20))
def test_listed_sums_are_the_same_bits(entries: int, seed: int) -> None:
    values, packed, _ = draw(3, 9, entries, seed)
    lists = [[8, 0, 3], [2], list(range(9))]
    everything = mask_products(values, packed)
    for row, of in enumerate(lists):
        assert torch.equal(listed_products(values[row], [packed[i] for i in of]), everything[row, of])


@given(st.integers(1, 40), sizes, st.integers(0, 2**20))
def test_an_index_sums_over_the_weights_that_are_looked_up(masks: int, entries: int, seed: int) -> None:
    values, packed, kept = draw(1, masks, entries, seed)
    chosen = torch.randperm(entries, generator=torch.Generator().manual_seed(seed))[: 1 + entries // 3]
    index = BitIndex(packed, entries)
    looked_at = values[:, chosen].double()
    rounded = (looked_at / looked_at.abs().amax() * 127).round() * looked_at.abs().amax() / 127
    close(index.products(chosen, values[0, chosen])[None], rounded.float(), kept[:, chosen])
    assert index.nbytes == entries * -(-masks // 8)


@pytest.mark.parametrize("bytes_at_once", [1, 8 * 38, 2**24])
@pytest.mark.parametrize("longest", [8, 64, 2**23])
def test_sums_do_not_depend_on_how_much_is_done_at_once(
    bytes_at_once: int, longest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    values, packed, _ = draw(4, 50, 300, 1)
    expected = mask_products(values, packed)
    monkeypatch.setattr(products, "UNPACKED_BYTES", bytes_at_once)
    monkeypatch.setattr(products, "LONGEST", longest)
    monkeypatch.setattr(products, "IN_CACHE", 400)
    assert torch.equal(mask_products(values, packed), expected)
    assert torch.equal(torch.stack([listed_products(row, packed) for row in values]), expected)


def test_equal_masks_have_equal_sums() -> None:
    values, packed, _ = draw(3, 70, 300, 2)
    got = mask_products(values, [packed[5]] * 70)
    assert bool((got == got[:, :1]).all())


def test_rows_that_are_not_finite_become_nan() -> None:
    values, packed, kept = draw(4, 6, 50, 3)
    values[1, 7], values[2, 9] = torch.nan, torch.inf
    got = mask_products(values, packed)
    assert bool(got[1:3].isnan().all())
    close(got[[0, 3]], values[[0, 3]], kept)


def test_rows_of_zeros_and_of_tiny_and_huge_numbers() -> None:
    values, packed, kept = draw(5, 6, 50, 3)
    values /= values.abs().amax(dim=1, keepdim=True)
    scales = torch.tensor([0, 1e-30, 1e-36, 1e36, 1], dtype=torch.float64)
    got = mask_products(values * scales[:, None].float(), packed)
    assert bool((got[0] == 0).all())
    close((got[1:] / scales[1:, None]).float(), values[1:], kept)


def test_each_integer_up_to_the_largest_is_summed_exactly() -> None:
    largest = products.LARGEST
    numbers = torch.tensor([[largest, -largest, 1.0, -1, 127, 128, -128, -129, 32767, -32768, 8355711 - 2**16, 0]])
    packed = [np.packbits(row, bitorder="little") for row in np.eye(12, dtype=bool)]
    assert torch.equal(mask_products(numbers, packed), numbers)


def test_nothing_gives_nothing() -> None:
    assert mask_products(torch.zeros(2, 5), []).shape == (2, 0)
    assert mask_products(torch.zeros(2, 0), [np.zeros(0, np.uint8)]).tolist() == [[0.0], [0.0]]


def test_masks_of_another_size_are_refused() -> None:
    with pytest.raises(MaskError, match="2 bytes"):
        mask_products(torch.zeros(1, 9), [np.zeros(1, np.uint8)])
