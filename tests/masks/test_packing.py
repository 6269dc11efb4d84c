import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from supermasks.errors import MaskError
from supermasks.masks import count_bits, pack_bits, unpack_bits

arrays = hnp.arrays(bool, hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=9))
devices = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]


@pytest.mark.parametrize("device", devices)
@pytest.mark.parametrize("entries", range(18))
def test_every_pattern_end_round_trips_and_is_numpys_little_endian_packing(entries: int, device: str) -> None:
    rng = np.random.default_rng(entries)
    for values in (np.zeros(entries, bool), np.ones(entries, bool), rng.random(entries) < 0.5):
        packed = pack_bits(torch.from_numpy(values).to(device))
        assert packed.dtype == torch.uint8
        assert packed.tolist() == np.packbits(values, bitorder="little").tolist()
        assert unpack_bits(packed, entries).tolist() == values.tolist()


@given(arrays)
def test_any_shape_packs_its_flattened_entries(values: np.ndarray) -> None:
    packed = pack_bits(torch.from_numpy(values))
    assert packed.shape == (-(-values.size // 8),)
    for n, value in enumerate(values.flatten().tolist()):
        assert (int(packed[n // 8]) >> n % 8) & 1 == value
    # What is left of the last byte is 0.
    assert sum(bin(byte).count("1") for byte in packed.tolist()) == values.sum()
    assert count_bits(packed) == values.sum()
    assert torch.equal(unpack_bits(packed, values.size).view(values.shape), torch.from_numpy(values))


@given(arrays)
def test_views_that_are_not_contiguous_pack_in_reading_order(values: np.ndarray) -> None:
    view = torch.from_numpy(values).transpose(0, -1)
    assert pack_bits(view).tolist() == np.packbits(np.swapaxes(values, 0, -1).flatten(), bitorder="little").tolist()


@given(st.integers(1, 4), st.integers(0, 20), st.integers(0, 2**32 - 1))
def test_unpacking_a_stack_unpacks_each_row(rows: int, entries: int, seed: int) -> None:
    values = np.random.default_rng(seed).random((2, rows, entries)) < 0.5
    packed = torch.from_numpy(np.packbits(values, axis=-1, bitorder="little"))
    unpacked = unpack_bits(packed, entries)
    assert unpacked.dtype == torch.bool
    assert unpacked.shape == (2, rows, entries)
    assert np.array_equal(unpacked.numpy(), values)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.int64])
def test_only_booleans_are_packed(dtype: torch.dtype) -> None:
    with pytest.raises(MaskError, match="boolean"):
        pack_bits(torch.ones(8, dtype=dtype))


@pytest.mark.parametrize(("held", "count"), [(1, 9), (2, 8), (1, 0), (0, 1), (3, 16)])
def test_unpacking_needs_exactly_as_many_bytes_as_entries(held: int, count: int) -> None:
    with pytest.raises(MaskError, match=f"{count} entries"):
        unpack_bits(torch.zeros(held, dtype=torch.uint8), count)


@pytest.mark.parametrize("dtype", [torch.int8, torch.int64, torch.bool])
def test_only_bytes_are_unpacked(dtype: torch.dtype) -> None:
    with pytest.raises(MaskError):
        unpack_bits(torch.zeros(1, dtype=dtype), 8)


def test_unpacked_entries_share_no_memory_with_the_packed() -> None:
    packed = pack_bits(torch.ones(8, dtype=torch.bool))
    unpack_bits(packed, 8).zero_()
    assert packed.tolist() == [255]


def test_every_byte_is_counted_rightly() -> None:
    for byte in range(256):
        assert count_bits(torch.tensor([byte], dtype=torch.uint8)) == bin(byte).count("1")
    # More than a byte can count.
    assert count_bits(torch.full((1000,), 255, dtype=torch.uint8)) == 8000
