"""Weights that a task owns: rounding, coding, damage."""

from collections.abc import Mapping

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from supermasks.errors import ConfigError, MaskError
from supermasks.masks import Mask
from supermasks.owned import PRECISIONS, Owned, Precision

SHAPES = {"linear": (20, 30), "conv": (4, 3, 3, 3), "thin": (5,)}


def world(
    seed: int = 0, density: float = 0.3, share: float = 0.7
) -> tuple[Mask, Mask, dict[str, Tensor], dict[str, Tensor]]:
    """Return the mask of a task, the positions that it owns, base weights, and trained ones."""
    rng = torch.Generator().manual_seed(seed)
    base = {name: torch.randn(shape, generator=rng) for name, shape in SHAPES.items()}
    kept = {name: torch.rand(shape, generator=rng) < density for name, shape in SHAPES.items()}
    own = {name: kept[name] & (torch.rand(shape, generator=rng) < share) for name, shape in SHAPES.items()}
    weights = {n: base[n][own[n]] + 0.1 * torch.randn(int(own[n].sum()), generator=rng) for n in SHAPES}
    return Mask.pack(kept), Mask.pack(own), base, weights


def equal(a: Owned, b: Owned) -> bool:
    return (
        a.mask == b.mask
        and a.precision == b.precision
        and a.scales == b.scales
        and all(torch.equal(a.codes[name], b.codes[name]) for name in a.mask)
    )


@given(
    st.integers(0, 1000),
    st.sampled_from(PRECISIONS),
    st.sampled_from([0.0, 0.01, 0.5, 1.0]),
    st.sampled_from([0.0, 0.3, 1.0]),
)
def test_what_is_decoded_is_what_was_encoded(seed: int, precision: Precision, density: float, share: float) -> None:
    kept, own, base, weights = world(seed, density, share)
    owned = Owned.of(own, base, weights, precision)
    tensors, about = owned.encode(kept)
    decoded = Owned.decode(tensors, about, kept)
    assert equal(decoded, owned)
    assert decoded.digest() == owned.digest()
    assert owned.nbytes(kept) == sum(t.numel() * t.element_size() for t in tensors.values())


@pytest.mark.parametrize(("precision", "error"), [("float32", 1e-6), ("float16", 1e-3)])
def test_floats_are_written_as_precisely_as_they_are_kept(precision: Precision, error: float) -> None:
    _, own, base, weights = world()
    written = Owned.of(own, base, weights, precision).write(base, base)
    for name in SHAPES:
        torch.testing.assert_close(written[name][own[name]], weights[name], rtol=0, atol=error)
        assert torch.equal(written[name][~own[name]], base[name][~own[name]])


@pytest.mark.parametrize(("precision", "largest"), [("int8", 127), ("int4", 7)])
def test_integers_are_as_good_as_the_best_grid(precision: Precision, largest: int) -> None:
    """No evenly spaced grid of as many steps, of a thousand that were tried, has an error that is much smaller."""
    _, own, base, weights = world(density=0.9, share=1.0)
    owned = Owned.of(own, base, weights, precision)
    written = owned.write(base, base)
    for name in ("linear", "conv"):
        change = (weights[name] - base[name][own[name]]).double().numpy()
        ours = float(((written[name][own[name]] - weights[name]).double() ** 2).sum())
        steps = np.linspace(0.1, 1.0, 1000) * np.abs(change).max() / largest
        best = min(float(((change - s * np.clip(np.round(change / s), -largest, largest)) ** 2).sum()) for s in steps)
        assert ours <= 1.1 * best
        assert int(owned.codes[name].abs().max()) <= largest


def test_positions_and_integers_take_their_entropy() -> None:
    rng = torch.Generator().manual_seed(1)
    base = {"w": torch.zeros(400, 500)}
    kept = {"w": torch.rand(400, 500, generator=rng) < 0.1}
    own = {"w": kept["w"] & (torch.rand(400, 500, generator=rng) < 0.6)}
    weights = {"w": torch.randn(int(own["w"].sum()), generator=rng)}
    owned = Owned.of(Mask.pack(own), base, weights, "int4")
    share, count = float(own["w"].sum() / kept["w"].sum()), int(kept["w"].sum())
    positions = -count * (share * np.log2(share) + (1 - share) * np.log2(1 - share))
    _, frequencies = np.unique(owned.codes["w"].numpy(), return_counts=True)
    p = frequencies / frequencies.sum()
    bound = (positions - len(weights["w"]) * float((p * np.log2(p)).sum())) / 8
    assert bound <= owned.nbytes(Mask.pack(kept)) <= 1.01 * bound + 16


def test_weights_are_written_over_those_of_others() -> None:
    """Where another task has changed other weights, they stay; the written value counts from the base."""
    _, own, base, weights = world()
    owned, others = Owned.of(own, base, weights), {name: value + 1 for name, value in base.items()}
    before = {name: value.clone() for name, value in others.items()}
    written = owned.write(base, others)
    for name in SHAPES:
        assert torch.equal(written[name][~own[name]], others[name][~own[name]])
        torch.testing.assert_close(written[name][own[name]], weights[name])
        assert torch.equal(others[name], before[name])


def test_what_does_not_fit_is_refused() -> None:
    kept, own, base, weights = world()
    with pytest.raises(ConfigError, match="int3"):
        Owned.of(own, base, weights, "int3")  # pyright: ignore[reportArgumentType]
    good = Owned.of(own, base, weights)
    with pytest.raises(MaskError, match="expected codes and scales"):
        Owned(own, {"linear": good.codes["linear"]}, good.scales)
    with pytest.raises(MaskError, match="expected 121 codes"):
        Owned(own, {**good.codes, "linear": good.codes["linear"][1:]}, good.scales)
    with pytest.raises(MaskError, match="finite"):
        Owned(own, {**good.codes, "linear": good.codes["linear"] * torch.nan}, good.scales)
    with pytest.raises(MaskError, match="must be in the mask of the task"):
        good.encode(kept - own)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_damaged_data_are_an_error_or_another_valid_value(precision: Precision) -> None:
    """Files have a digest; without it, damage is noticed or changes values, but never crashes or hangs."""
    kept, own, base, weights = world()
    tensors, about = Owned.of(own, base, weights, precision).encode(kept)
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(300):
        name = str(rng.choice(list(tensors)))
        content = tensors[name].numpy().copy()
        flat = content.view(np.uint8)
        flat[rng.integers(len(flat))] ^= np.uint8(1 << rng.integers(8))
        try:
            decoded = Owned.decode({**tensors, name: torch.from_numpy(content)}, about, kept)
        except MaskError:
            refused += 1
            continue
        assert not equal(decoded, Owned.decode(tensors, about, kept))
    assert refused > (0 if precision.startswith("float") else 100)
    wrong: list[Mapping[str, object]] = [
        {"precision": "int2"},
        {"scales": {**about["scales"], "linear": float("inf")}},
    ]
    if "frequencies" in about:
        wrong += [{"frequencies": about["frequencies"][1:]}, {"frequencies": [0] * len(about["frequencies"])}]
    for change in wrong:
        with pytest.raises(MaskError):
            Owned.decode(tensors, {**about, **change}, kept)
