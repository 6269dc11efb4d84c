from collections.abc import Callable
from math import prod, sqrt

import numpy as np
import pytest
import scipy.stats
import torch

from supermasks.bases import INITIALISATIONS, RandomBase, base_from_recipe, fingerprint
from supermasks.errors import ConfigError
from supermasks.spec import describe

SHAPES = {"linear": (200, 150), "conv": (64, 20, 3, 3), "odd": (7, 3)}


def fans(shape: tuple[int, ...]) -> tuple[int, int]:
    kernel = prod(shape[2:])
    return shape[1] * kernel, shape[0] * kernel


@pytest.mark.parametrize("name", ["linear", "conv"])
def test_signed_constants_are_plus_or_minus_the_kaiming_constant_in_equal_shares(name: str) -> None:
    weights = RandomBase(0).weights(SHAPES)[name]
    constant = np.float32(sqrt(2 / fans(SHAPES[name])[0]))
    assert set(weights.unique().tolist()) == {float(constant), -float(constant)}
    positive, entries = int((weights > 0).sum()), weights.numel()
    assert abs(positive - entries / 2) < 4 * sqrt(entries / 4)


@pytest.mark.parametrize("name", ["linear", "conv"])
@pytest.mark.parametrize(
    ("initialisation", "of_fans", "distribution"),
    [
        ("kaiming_normal", lambda i, o: sqrt(2 / i), scipy.stats.norm(0, 1)),
        ("xavier_normal", lambda i, o: sqrt(2 / (i + o)), scipy.stats.norm(0, 1)),
        ("kaiming_uniform", lambda i, o: sqrt(2 / i), scipy.stats.uniform(-sqrt(3), 2 * sqrt(3))),
        ("xavier_uniform", lambda i, o: sqrt(2 / (i + o)), scipy.stats.uniform(-sqrt(3), 2 * sqrt(3))),
    ],
)
def test_initialisations_have_the_published_distribution(
    initialisation: str, of_fans: Callable[[int, int], float], distribution: object, name: str
) -> None:
    weights = RandomBase(1, initialisation).weights(SHAPES)[name]
    deviation = of_fans(*fans(SHAPES[name]))
    assert float(weights.std()) == pytest.approx(deviation, rel=0.03)
    assert abs(float(weights.mean())) < 4 * deviation / sqrt(weights.numel())
    scaled = weights.flatten().double().numpy() / deviation
    assert scipy.stats.kstest(scaled, distribution.cdf).pvalue > 1e-3  # pyright: ignore[reportAttributeAccessIssue]
    if "uniform" in initialisation:
        assert float(np.abs(scaled).max()) == pytest.approx(sqrt(3), rel=0.01)
        assert float(np.abs(scaled).max()) <= sqrt(3) * (1 + 1e-6)


@pytest.mark.parametrize("initialisation", INITIALISATIONS)
def test_weights_of_a_parameter_depend_on_seed_and_name_alone(initialisation: str) -> None:
    base = RandomBase(7, initialisation)
    together = base.weights(SHAPES)
    assert {name: tuple(w.shape) for name, w in together.items()} == SHAPES
    assert all(w.dtype == torch.float32 for w in together.values())
    for name in reversed(SHAPES):
        assert torch.equal(base.weights({name: SHAPES[name]})[name], together[name])
        assert torch.equal(
            RandomBase(7, initialisation).weights({"other": (2, 2), name: SHAPES[name]})[name], together[name]
        )
        assert not torch.equal(RandomBase(8, initialisation).weights({name: SHAPES[name]})[name], together[name])
    same_shape = base.weights({"a": (20, 30), "b": (20, 30)})
    assert not torch.equal(same_shape["a"], same_shape["b"])


@pytest.mark.parametrize("initialisation", INITIALISATIONS)
def test_sums_over_the_kept_weights_vary_as_those_over_all(initialisation: str) -> None:
    rng = torch.Generator().manual_seed(0)
    inputs, kept = torch.randn(2000, 400, generator=rng), torch.rand(300, 400, generator=rng) < 0.1
    whole, sparse = (RandomBase(3, initialisation, density).weights({"w": (300, 400)})["w"] for density in (1.0, 0.1))
    assert float((inputs @ (sparse * kept).T).std()) == pytest.approx(float((inputs @ whole.T).std()), rel=0.03)
    torch.testing.assert_close(sparse, whole / 0.1**0.5)


@pytest.mark.parametrize("density", [0.0, -0.1, 1.5, float("nan")])
def test_a_density_out_of_range_is_refused(density: float) -> None:
    with pytest.raises(ConfigError, match="density"):
        RandomBase(0, density=density)


def test_weights_are_new_tensors_each_time() -> None:
    base = RandomBase(0)
    base.weights({"w": (4, 4)})["w"].zero_()
    assert (base.weights({"w": (4, 4)})["w"] != 0).all()


def test_global_random_state_is_neither_read_nor_changed() -> None:
    torch.manual_seed(0)
    np.random.seed(0)
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()
    first = {name: RandomBase(0, name).weights(SHAPES) for name in INITIALISATIONS}
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[1].tolist() == before[1]
    torch.manual_seed(123)
    for name, weights in first.items():
        assert fingerprint(RandomBase(0, name).weights(SHAPES)) == fingerprint(weights)


def test_another_process_makes_the_same_weights(elsewhere: Callable[..., str]) -> None:
    code = """
from supermasks.bases import INITIALISATIONS, RandomBase, fingerprint
torch.manual_seed(99)
shapes = {"linear": (200, 150), "conv": (64, 20, 3, 3), "odd": (7, 3)}
for name in INITIALISATIONS:
    print(name, fingerprint(RandomBase(2**70 + 1, name).weights(shapes)))
"""
    here = [f"{name} {fingerprint(RandomBase(2**70 + 1, name).weights(SHAPES))}" for name in INITIALISATIONS]
    assert elsewhere(code).splitlines() == here


def test_weights_are_pinned_for_good() -> None:
    # Stored banks hold no weights: a change of these signs would make every one of them unreadable. The signs were
    # worked out with numpy from the definition of the stream, not with the class.
    import hashlib

    digest = hashlib.sha256()
    for part in (b"base", b"weight"):
        digest.update(len(part).to_bytes(8, "little") + part)
    key = [int.from_bytes(digest.digest()[i : i + 4], "little") for i in range(0, 32, 4)]
    rng = np.random.Generator(np.random.PCG64DXSM(np.random.SeedSequence(3, spawn_key=key)))
    signs = [bool(byte >> (7 - bit) & 1) for byte in rng.bytes(2) for bit in range(8)]
    weights = RandomBase(3).weights({"weight": (4, 4)})["weight"]
    assert (weights > 0).flatten().tolist() == signs


def test_any_change_changes_the_fingerprint() -> None:
    weights = {"a": torch.arange(6.0).view(2, 3), "b": torch.zeros(4)}
    seen = {fingerprint(weights)}
    assert fingerprint({"b": weights["b"].clone(), "a": weights["a"].clone()}) in seen  # order does not matter
    raw = weights["a"].numpy().tobytes()
    others = []
    for bit in range(8 * len(raw)):
        changed = bytearray(raw)
        changed[bit // 8] ^= 1 << bit % 8
        others.append({**weights, "a": torch.frombuffer(changed, dtype=torch.float32).view(2, 3)})
    others += [
        {"a": weights["a"].view(3, 2), "b": weights["b"]},
        {"A": weights["a"], "b": weights["b"]},
        {"a": weights["a"]},
        {**weights, "c": torch.zeros(0)},
        {"a": weights["a"], "b": torch.zeros(4, dtype=torch.int32)},
        {"a": weights["a"], "b": torch.zeros(3)},
        {"a": weights["a"], "b": -torch.zeros(4)},
    ]
    for other in others:
        found = fingerprint(other)
        assert found not in seen
        seen.add(found)


@pytest.mark.parametrize("seed", [-1, 1.5, "0", None, True])
def test_an_invalid_seed_fails_at_once(seed: object) -> None:
    with pytest.raises(ConfigError, match=r"seed .* integer"):
        RandomBase(seed)  # pyright: ignore[reportArgumentType]


def test_an_unknown_initialisation_is_named() -> None:
    with pytest.raises(ConfigError, match=r"kaiming_normal.*got 'zeros'"):
        RandomBase(0, "zeros")


def test_a_recipe_is_read_back() -> None:
    for initialisation in INITIALISATIONS:
        base = RandomBase(2**80, initialisation)
        assert base_from_recipe(describe(base)) == base
    with pytest.raises(ConfigError, match="'Trained'"):
        base_from_recipe({"type": "Trained", "seed": 0})
    with pytest.raises(ConfigError, match="do not fit"):
        base_from_recipe({"type": "RandomBase", "seed": 0, "colour": 1})
