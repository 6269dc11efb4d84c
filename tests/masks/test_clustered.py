"""Masks whose few ones cluster in rows and columns: what comes back, the bytes they take, and damage."""

from contextlib import suppress
from math import lgamma, log
from time import perf_counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from supermasks.errors import MaskError
from supermasks.masks import Mask, decode_mask, encode_mask
from supermasks.masks.clustered import STRENGTHS, Choice, negative_binomial
from supermasks.masks.coding import CLUSTERED, CODED, _encode  # pyright: ignore[reportPrivateUsage]

Counts = NDArray[np.int64]


def clustered(shape: tuple[int, ...], density: float, rows: float, columns: float, seed: int = 0) -> torch.Tensor:
    """Entries that are 1 with probability `density * r_i * c_j`, with gamma distributed `r` and `c` of mean 1."""
    rng, size = np.random.default_rng(seed), int(np.prod(shape[1:]))
    rates = np.outer(rng.gamma(rows, 1 / rows, shape[0]), rng.gamma(columns, 1 / columns, size))
    return torch.from_numpy(rng.random((shape[0], size)) < density * rates).view(shape)


def dropped(*layers: torch.Tensor) -> Mask:
    return Mask.pack({f"{n}": ~ones for n, ones in enumerate(layers)})


def entropy_bytes(ones: torch.Tensor) -> float:
    """The numbers of ones of rows and columns, at their entropy; then any matrix with these, all equally likely.

    There are about `K! / prod(a!) / prod(b!) * exp(-A B / 2)` such matrices (O'Neil 1969), where `A` is the sum of
    `a (a - 1) / K` over rows, and `B` the same over columns.
    """
    matrix = ones.view(len(ones), -1)
    margins = [matrix.sum(dim).numpy() for dim in (1, 0)]
    count = int(matrix.sum())
    spread = [float((margin * (margin - 1)).sum()) / count for margin in margins]
    nats = lgamma(count + 1) - spread[0] * spread[1] / 2
    nats -= sum(lgamma(int(number) + 1) for margin in margins for number in margin)
    for margin in margins:
        often = np.unique(margin, return_counts=True)[1]
        nats -= sum(int(n) * log(int(n) / len(margin)) for n in often)
    return nats / log(2) / 8


shapes = st.lists(st.integers(1, 24), min_size=1, max_size=4).map(tuple)
layers = st.tuples(shapes, st.sampled_from([0.0, 0.003, 0.02, 0.1, 0.4]), st.sampled_from([0.05, 0.5, 4.0]))


@given(st.lists(layers, max_size=4), st.booleans(), st.integers(0, 10))
def test_any_clustered_mask_comes_back(
    given_layers: list[tuple[tuple[int, ...], float, float]], kept: bool, seed: int
) -> None:
    made = [clustered(shape, density, spread, 2 * spread, seed) for shape, density, spread in given_layers]
    mask = Mask.pack({f"{n}": ones ^ kept for n, ones in enumerate(made)})
    assert decode_mask(encode_mask(mask), mask.shapes) == mask


@given(st.integers(2, 40), st.integers(2, 40), st.integers(0, 10), st.floats(0.0, 0.12), st.integers(1, 242))
def test_any_choice_gives_the_mask_back(rows: int, columns: int, seed: int, density: float, byte: int) -> None:
    """The encoder chooses how to code; a reader must follow any choice."""
    ones = clustered((rows, columns), density, 2.0, 2.0, seed)
    ones[: rows // 3] |= seed % 3 == 0  # some lines whole
    mask, count = dropped(ones), int(ones.sum())
    fewer = ones if 2 * count < ones.numel() else ~ones
    if not 0 < count < ones.numel() or 2 * count == ones.numel():
        return
    by_line = fewer.sum(dim=0 if byte % 2 == 0 else 1)
    places = fewer.numel() // len(by_line)
    choice = Choice.of(byte, int(by_line.max()))
    if 8 * int(by_line[by_line < places].sum()) > ones.numel():
        with pytest.raises(ValueError, match="than this code is for"):
            _encode(mask, choices={"0": choice})
        return
    content = _encode(mask, choices={"0": choice})
    code = torch.frombuffer(bytearray([CLUSTERED, *content]), dtype=torch.uint8)
    assert decode_mask(code, mask.shapes) == mask


@pytest.mark.parametrize(
    ("shape", "density", "rows", "columns"),
    [
        ((384, 384), 0.01, 2.0, 2.0),
        ((384, 1536), 0.01, 1.0, 0.5),
        ((1536, 384), 0.03, 4.0, 0.3),
        ((384, 384), 0.1, 2.0, 2.0),
        ((64, 32, 3, 3), 0.02, 0.5, 1.0),
    ],
)
def test_the_code_takes_the_entropy_of_rows_and_columns(
    shape: tuple[int, ...], density: float, rows: float, columns: float
) -> None:
    ones = [clustered(shape, density, rows, columns, seed) for seed in range(4)]
    mask = dropped(*ones)
    code, bound = encode_mask(mask), sum(map(entropy_bytes, ones))
    assert int(code[0]) == CLUSTERED
    assert decode_mask(code, mask.shapes) == mask
    # The bound is told how often each number of ones occurs; small layers have to learn it.
    assert 0.98 * bound < len(code) < 1.025 * bound + 12 * len(ones)
    assert len(code) < 0.98 * mask.entropy_bytes()


def test_rows_and_columns_are_learned_within_a_percent() -> None:
    """A mask that is large enough for what rows and columns tell to cost little."""
    ones = clustered((512, 512), 0.08, 3.0, 3.0)
    assert len(encode_mask(dropped(ones))) < 1.01 * entropy_bytes(ones)


@pytest.mark.parametrize("dim", [0, 1])
@pytest.mark.parametrize("share", [0.03, 0.5])
def test_whole_rows_or_columns_cost_little_more_than_a_bit_each(dim: int, share: float) -> None:
    rng = torch.Generator().manual_seed(0)
    lines = torch.rand(384, generator=rng) < share
    ones = lines.view(-1, 1).expand(384, 300) if dim == 0 else lines.expand(300, 384)
    mask = dropped(ones, ones)
    bits = 2 * Mask.pack({"lines": lines}).entropy_bytes() * 8
    assert 8 * len(encode_mask(mask)) < 1.2 * bits + 200


def test_masks_without_clusters_are_coded_as_before() -> None:
    rng = torch.Generator().manual_seed(0)
    for density in (0.001, 0.01, 0.1, 0.3):
        mask = Mask.pack({"w": torch.rand((300, 200), generator=rng) < density})
        assert int(encode_mask(mask)[0]) == CODED


def test_layers_that_do_not_cluster_keep_their_code_beside_layers_that_do() -> None:
    rng = torch.Generator().manual_seed(0)
    plain, bias = torch.rand((300, 200), generator=rng) < 0.4, torch.rand(70, generator=rng) < 0.2
    ones = clustered((300, 200), 0.02, 0.5, 0.5)
    mask = Mask.pack({"plain": plain, "clustered": ~ones, "bias": bias})
    code = encode_mask(mask)
    assert int(code[0]) == CLUSTERED
    assert decode_mask(code, mask.shapes) == mask
    alone = sum(len(encode_mask(Mask.pack({name: mask[name]}))) for name in mask)
    assert len(code) <= alone + 6


def test_codes_written_before_are_read() -> None:
    """The bytes of docs/format.md, of the ways that came first."""
    mask = Mask.pack({"w": torch.zeros(400, dtype=torch.bool).index_fill(0, torch.tensor([7, 150, 151, 399]), True)})
    code = bytes.fromhex("010800 00bc831368d3eb0100".replace(" ", ""))
    assert decode_mask(torch.frombuffer(bytearray(code), dtype=torch.uint8), {"w": (400,)}) == mask


def damaged(code: torch.Tensor, shapes: dict[str, tuple[int, ...]], mask: Mask) -> bool:
    """Return whether damage is seen; if it is not, then another mask comes back."""
    try:
        assert decode_mask(code, shapes) != mask
    except MaskError:
        return True
    return False


def test_damage_is_an_error_or_another_mask() -> None:
    mask = dropped(clustered((40, 60), 0.05, 0.3, 0.3), clustered((7, 5), 0.3, 1.0, 1.0))
    code = encode_mask(mask)
    assert int(code[0]) == CLUSTERED
    seen = 0
    for n in range(len(code)):
        for bit in (n % 8, (5 * n + 3) % 8):  # all bits would take ten seconds
            changed = code.clone()
            changed[n] ^= 1 << bit
            seen += damaged(changed, mask.shapes, mask)
    assert seen > 0.9 * 2 * len(code)
    for length in range(len(code)):
        with pytest.raises(MaskError):
            decode_mask(code[:length], mask.shapes)


@given(st.binary(max_size=80), st.integers(0, 242), st.integers(0, 70))
def test_any_bytes_are_an_error_or_a_mask(rest: bytes, byte: int, most: int) -> None:
    content = bytes([CLUSTERED, 100, 0, 0, byte, 2 * (most % 64), *rest])
    code = torch.frombuffer(bytearray(content), dtype=torch.uint8)
    with suppress(MaskError):
        assert decode_mask(code, {"w": (40, 60)}).count() == 50


def test_a_code_that_claims_much_takes_little_time() -> None:
    """Random words, and as many ones as a matrix may have."""
    shapes, rng = {"w": (2000, 1000)}, np.random.default_rng(0)
    for count in (1_000_000, 250_000, 20_000):
        signed = bytes([2 * count & 127 | 128, 2 * count >> 7 & 127 | 128, 2 * count >> 14])
        content = [CLUSTERED, *signed, 0, 0, 1, 0xD0, 0x0F, *rng.bytes(400_000)]
        start = perf_counter()
        with pytest.raises(MaskError, match=r"damaged|keep|after"):
            decode_mask(torch.tensor(content, dtype=torch.uint8), shapes)
        assert perf_counter() - start < 20


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        (b"\xf3\x10", "no choice"),
        (b"\xff\x10", "no choice"),
        (b"\x01\xf8\x07", "cannot have"),
        (b"\x01\x01", "cannot have"),
    ],
)
def test_a_choice_that_does_not_fit_is_an_error(choices: bytes, message: str) -> None:
    code = torch.tensor([CLUSTERED, 8, 0, 0, *choices, 1, 2, 3, 4], dtype=torch.uint8)
    with pytest.raises(MaskError, match=message):
        decode_mask(code, {"w": (40, 60)})


def test_choices_are_numbers_and_back() -> None:
    seen = [Choice.of(byte, 5) for byte in range(1, 243)]
    assert [choice.byte for choice in seen] == list(range(1, 243))
    assert len(set(seen)) == 242
    for byte in (-1, 0, 243, 255):
        with pytest.raises(ValueError, match="no choice"):
            Choice.of(byte, 5)


@pytest.mark.parametrize("mean", [0.01, 1.0, 30.0])
@pytest.mark.parametrize("strength", STRENGTHS)
def test_numbers_of_ones_are_distributed_negative_binomially(mean: float, strength: float) -> None:
    table = negative_binomial(mean, strength, 2000)
    k = np.arange(2001)
    logs = np.array([lgamma(n + strength) - lgamma(strength) - lgamma(n + 1) for n in k])
    logs += strength * log(strength / (mean + strength)) + k * log(mean / (mean + strength))
    expected = np.exp(logs) / np.exp(logs).sum()  # of at most 2000 ones
    np.testing.assert_allclose(table, expected, rtol=1e-6, atol=1e-12)
