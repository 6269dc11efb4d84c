"""Products of rows, each with its own mask, against dense products in float64."""

from collections.abc import Iterator, Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from supermasks.errors import MaskError
from supermasks.masks import masked_weight, pack_bits, row_products
from supermasks.masks.rows import FEW_ROWS, compiled

WAYS = ["portable", "compiled"]


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    if request.param == "portable":
        monkeypatch.setattr("supermasks.masks.rows.compiled", lambda: None)
    elif compiled() is None:
        pytest.skip("needs numba")
    return request.param


def case(outputs: int, size: int, counts: Sequence[int], seed: int = 0) -> tuple[Tensor, Tensor, list, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    weight = torch.randn(outputs, size, generator=rng)
    inputs = torch.randn(sum(counts), size, generator=rng)
    masks = [torch.rand(outputs, size, generator=rng) < 0.5 for _ in counts]
    groups = zip(masks, inputs.split(list(counts)), strict=True)
    truth = torch.cat([rows.double() @ (weight.double() * mask).T for mask, rows in groups])
    return inputs, weight, [pack_bits(mask).numpy() for mask in masks], truth


# Every rest of 16 lanes, bits that begin inside of a byte, odd numbers of outputs, all sizes of tiles.
SHAPES = [(1, 1), (3, 7), (2, 8), (5, 15), (4, 16), (17, 17), (33, 20), (6, 24), (19, 100), (100, 300), (7, 784)]


@pytest.mark.parametrize("counts", [[1], [1, 1, 1], [1] * 9, [2, 1, 3], [FEW_ROWS + 1, 1, 2, 40], [30]])
@pytest.mark.parametrize(("outputs", "size"), SHAPES)
def test_each_row_has_its_own_mask(way: str, outputs: int, size: int, counts: list[int]) -> None:
    inputs, weight, masks, truth = case(outputs, size, counts)
    found = row_products(inputs, weight, masks, counts)
    torch.testing.assert_close(found.double(), truth, rtol=1e-5, atol=1e-4)


@given(st.integers(1, 40), st.integers(1, 70), st.lists(st.integers(1, 15), min_size=1, max_size=7), st.integers(0, 99))
def test_any_shape(outputs: int, size: int, counts: list[int], seed: int) -> None:
    inputs, weight, masks, truth = case(outputs, size, counts, seed)
    torch.testing.assert_close(row_products(inputs, weight, masks, counts).double(), truth, rtol=1e-5, atol=1e-4)


def test_views_with_gaps_count_by_their_entries(way: str) -> None:
    inputs, weight, masks, truth = case(6, 10, [1, 2, 1])
    spread_inputs, spread_weight = torch.zeros(4, 20)[:, ::2], torch.zeros(10, 6).T
    spread_inputs.copy_(inputs)
    spread_weight.copy_(weight)
    found = row_products(spread_inputs, spread_weight, masks, [1, 2, 1])
    torch.testing.assert_close(found.double(), truth, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("shape", [(1,), (15,), (16,), (3, 7), (4, 4, 3, 3), (100, 300)])
def test_masked_weights_have_the_bits_of_a_product(way: str, shape: tuple[int, ...]) -> None:
    rng = torch.Generator().manual_seed(0)
    weight, mask = torch.randn(shape, generator=rng), torch.rand(shape, generator=rng) < 0.5
    found, expected = masked_weight(weight, pack_bits(mask).numpy()), weight * mask
    assert torch.equal(found, expected)
    assert torch.equal(found.signbit(), expected.signbit())


def test_nothing_is_read_beyond_the_end_of_masks_weights_and_inputs(way: str) -> None:
    # Each array ends at the end of a page that cannot be read: a longer read would end the process.
    import ctypes
    import mmap

    page = mmap.PAGESIZE
    area = mmap.mmap(-1, 2 * page)
    start = ctypes.addressof(ctypes.c_char.from_buffer(area))
    assert ctypes.CDLL(None, use_errno=True).mprotect(ctypes.c_void_p(start + page), page, 0) == 0
    try:
        for outputs, size in SHAPES[:9]:
            inputs, weight, masks, truth = case(outputs, size, [1, 1])
            held = np.frombuffer(area, np.uint8, len(masks[1]), page - len(masks[1]))
            held[:] = masks[1]
            found = row_products(inputs, weight, [masks[0], held], [1, 1])
            torch.testing.assert_close(found.double(), truth, rtol=1e-5, atol=1e-4)
            del held
            for value, call in (
                (inputs, lambda v, w=weight, m=masks: row_products(v, w, m, [1, 1])),
                (weight, lambda v, x=inputs, m=masks: row_products(x, v, m, [1, 1])),
            ):
                if value.nbytes > page:
                    continue
                at_end = np.frombuffer(area, np.float32, value.numel(), page - value.nbytes).reshape(value.shape)
                at_end[:] = value.numpy()
                torch.testing.assert_close(call(torch.from_numpy(at_end)).double(), truth, rtol=1e-5, atol=1e-4)
                del at_end
    finally:
        ctypes.CDLL(None).mprotect(ctypes.c_void_p(start + page), page, 3)


@pytest.mark.parametrize(
    ("masks", "counts"),
    [
        ([np.zeros(2, np.uint8)], [2]),
        ([np.zeros(1, np.int64)], [2]),
        ([np.zeros(2, np.uint8)[::2]], [2]),
        ([np.zeros(1, np.uint8)], [1]),
        ([np.zeros(1, np.uint8)] * 2, [2, 0]),
        ([np.zeros(1, np.uint8)] * 2, [2]),
    ],
)
def test_what_does_not_fit_is_an_error(masks: list, counts: list[int]) -> None:
    with pytest.raises(MaskError, match="expected"):
        row_products(torch.ones(2, 4), torch.ones(2, 4), masks, counts)


def test_without_groups_there_are_no_rows() -> None:
    assert row_products(torch.ones(0, 4), torch.ones(2, 4), [], []).shape == (0, 2)
