from math import prod

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supermasks.errors import ConfigError, DensityError
from supermasks.masks import ER, ERK, Uniform

LENET = {"1.weight": (300, 784), "3.weight": (100, 300), "5.weight": (100, 100)}
RESNET_ISH = {"stem": (20, 3, 3, 3), "block": (40, 20, 3, 3), "shortcut": (40, 20, 1, 1), "head": (100, 160)}


@pytest.mark.parametrize("scale", [1, 2, 4, 8, 16, 32])
@pytest.mark.parametrize("shapes", [LENET, RESNET_ISH])
def test_er_is_the_formula_of_the_paper(shapes: dict[str, tuple[int, ...]], scale: float) -> None:
    densities = ER(scale).densities(shapes)
    assert list(densities) == list(shapes)
    for name, (out, inputs, *kernel) in shapes.items():
        height, width = kernel or (1, 1)
        assert densities[name] == pytest.approx(min(0.5, scale * (out + inputs) / (out * inputs * height * width)))


def test_er_worked_by_hand() -> None:
    # (40 + 20) / (40 * 20 * 9) = 60 / 7200, and (10 + 10) / 100 * 4 = 0.8, capped.
    densities = ER(1).densities({"conv": (40, 20, 3, 3), "line": (8, 6, 5)})
    assert densities["conv"] == pytest.approx(1 / 120)
    assert densities["line"] == pytest.approx(14 / 240)
    assert ER(4).densities({"w": (10, 10)}) == {"w": 0.5}
    assert ER(4, cap=0.7).densities({"w": (10, 10)}) == {"w": 0.7}
    assert ER(4, cap=1).densities({"w": (10, 10)})["w"] == pytest.approx(0.8)


def test_er_without_a_cap_refuses_more_than_all_weights() -> None:
    with pytest.raises(DensityError, match="'w'"):
        ER(6, cap=1).densities({"w": (10, 10)})
    assert ER(5, cap=1).densities({"w": (10, 10)}) == {"w": 1.0}


@pytest.mark.parametrize("cap", [0, -0.5, 1.5, float("nan")])
def test_er_rejects_an_invalid_cap(cap: float) -> None:
    with pytest.raises(DensityError, match="cap"):
        ER(1, cap=cap).densities(LENET)


@pytest.mark.parametrize("scale", [0, -1, float("nan")])
@pytest.mark.parametrize("cap", [0.5, 1])
def test_er_rejects_an_invalid_scale(scale: float, cap: float) -> None:
    with pytest.raises(DensityError):
        ER(scale, cap).densities(LENET)


def test_a_layer_must_keep_at_least_one_weight() -> None:
    # 0.02 * 16 = 0.32 weights.
    for budget in (Uniform(0.02), ER(0.04), ERK(0.02)):
        with pytest.raises(DensityError, match="'w'"):
            budget.densities({"w": (4, 4)})
    assert Uniform(0.04).densities({"w": (4, 4)}) == {"w": 0.04}  # 0.64 weights round to one


@pytest.mark.parametrize("density", [0, -0.1, 1.0001, 2, float("nan"), float("inf")])
@pytest.mark.parametrize("budget", [Uniform, ERK])
def test_a_density_outside_of_its_range_is_refused(budget: type[Uniform] | type[ERK], density: float) -> None:
    with pytest.raises(DensityError) as caught:
        budget(density).densities(LENET)
    assert isinstance(caught.value, ConfigError)
    assert isinstance(caught.value, ValueError)


def test_uniform_is_the_same_everywhere() -> None:
    assert Uniform(0.3).densities(LENET) == dict.fromkeys(LENET, 0.3)
    assert Uniform(1).densities(LENET) == dict.fromkeys(LENET, 1)


@pytest.mark.parametrize("shapes", [LENET, RESNET_ISH])
@pytest.mark.parametrize("density", [0.02, 0.1, 0.5, 0.9, 1.0])
def test_erk_keeps_the_wanted_fraction_of_the_whole_network(shapes: dict[str, tuple[int, ...]], density: float) -> None:
    densities = ERK(density).densities(shapes)
    kept = sum(d * prod(shapes[name]) for name, d in densities.items())
    assert kept == pytest.approx(density * sum(map(prod, shapes.values())))


def test_erk_shares_in_proportion_if_no_layer_is_full() -> None:
    # Proportional to 70/1200 and 60/800: with 2000 weights at 0.05, the factor is 100 / (70 + 60).
    densities = ERK(0.05).densities({"a": (40, 30), "b": (20, 40)})
    assert densities == {"a": pytest.approx(100 / 130 * 70 / 1200), "b": pytest.approx(100 / 130 * 60 / 800)}


def test_erk_counts_the_sides_of_a_kernel() -> None:
    # (20 + 10 + 3 + 5) / (20 * 10 * 15) against (50 + 40) / 2000.
    densities = ERK(0.02).densities({"conv": (20, 10, 3, 5), "line": (50, 40)})
    assert densities["conv"] / densities["line"] == pytest.approx((38 / 3000) / (90 / 2000))


def test_erk_redistributes_what_a_full_layer_cannot_keep() -> None:
    # Half of 19,100 weights are 9,550, shared 20 : 110 : 290. That would give a 455 of its 100 weights and b 2,501 of
    # its 1,000: both are kept whole, and c gets the other 8,450.
    shapes = {"a": (10, 10), "b": (10, 100), "c": (90, 200)}
    total = 100 + 1000 + 18000
    densities = ERK(0.5).densities(shapes)
    assert densities == {"a": 1.0, "b": 1.0, "c": pytest.approx((0.5 * total - 1100) / 18000)}


def test_erk_fills_a_layer_that_overflows_only_after_another_is_full() -> None:
    # Shares 4 : 20 : 200, sizes 4 : 100 : 10,000; 0.0875 of 10,104 are 884.1. First factor 884.1 / 224 = 3.95:
    # a gets 15.8 of 4 (full), b 78.9 of 100, c 789. Then (884.1 - 4) / 220 = 4.0005: b gets 80.0 of 100, c 800.1.
    shapes = {"a": (2, 2), "b": (10, 10), "c": (100, 100)}
    wanted = 0.0875 * 10104
    assert ERK(0.0875).densities(shapes) == {
        "a": 1.0,
        "b": pytest.approx((wanted - 4) / 220 * 20 / 100),
        "c": pytest.approx((wanted - 4) / 220 * 200 / 10000),
    }
    # 0.1095 of them are 1106.4: factor 4.939, b gets 98.8 of 100; but (1106.4 - 4) / 220 = 5.011 makes it 100.2: full.
    wanted = 0.1095 * 10104
    assert ERK(0.1095).densities(shapes) == {"a": 1.0, "b": 1.0, "c": pytest.approx((wanted - 104) / 10000)}


@given(
    st.dictionaries(
        st.text(min_size=1, max_size=3),
        st.lists(st.integers(2, 30), min_size=2, max_size=4).map(tuple),
        min_size=1,
        max_size=5,
    ),
    st.floats(0.3, 1.0),
)
def test_erk_never_leaves_the_range_and_keeps_the_total(shapes: dict[str, tuple[int, ...]], density: float) -> None:
    try:
        densities = ERK(density).densities(shapes)
    except DensityError as error:
        assert "keeps none" in str(error)  # noqa: PT017
        return
    assert all(0 < d <= 1 for d in densities.values())
    total = sum(map(prod, shapes.values()))
    assert sum(d * prod(shapes[name]) for name, d in densities.items()) == pytest.approx(density * total)
