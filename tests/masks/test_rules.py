import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from supermasks.errors import DensityError
from supermasks.masks import ER, Threshold, TopK, Uniform

# Few values, so that there are many ties; zeros of both signs among them.
ties = st.lists(st.sampled_from([0.0, -0.0, 0.5, -0.5, 1.0, -2.0]), min_size=1, max_size=60)
scores_of_any_kind = st.one_of(ties, st.lists(st.floats(-1e3, 1e3, width=32), min_size=1, max_size=60))


@given(scores_of_any_kind, st.sampled_from([0.0, 0.5, -0.25]))
def test_threshold_keeps_scores_at_least_as_large(values: list[float], threshold: float) -> None:
    mask = Threshold(threshold).masks({"w": torch.tensor(values)})["w"]
    assert mask.tolist() == [1.0 if value >= threshold else 0.0 for value in values]


def test_a_score_of_exactly_zero_is_kept() -> None:
    assert Threshold().masks({"w": torch.tensor([0.0, -0.0, -1e-45, 1e-45])})["w"].tolist() == [1, 1, 0, 1]


@given(scores_of_any_kind, st.floats(0.01, 1.0))
def test_top_k_keeps_exactly_the_largest_magnitudes(values: list[float], density: float) -> None:
    scores = torch.tensor(values)
    kept = round(density * len(values))
    if kept == 0:
        with pytest.raises(DensityError, match="keeps none"):
            TopK(density).masks({"w": scores})
        return
    mask = TopK(density).masks({"w": scores})["w"]
    assert set(mask.tolist()) <= {0.0, 1.0}
    assert mask.sum() == kept
    magnitudes = np.abs(scores.numpy())
    # Which of equal scores are kept is open; their magnitudes are not.
    assert np.array_equal(np.sort(magnitudes[mask.numpy() == 1]), np.sort(magnitudes)[len(values) - kept :])


def test_equal_scores_do_not_change_how_many_are_kept() -> None:
    for scores in (torch.zeros(20, 30), torch.ones(20, 30), -torch.ones(20, 30)):
        assert TopK(0.1).masks({"w": scores})["w"].sum() == 60


def test_top_k_gives_each_layer_the_density_of_its_budget() -> None:
    shapes = {"a": (10, 40), "b": (6, 4, 3, 3)}
    scores = {name: torch.randn(shape, generator=torch.Generator().manual_seed(0)) for name, shape in shapes.items()}
    masks = TopK(ER(scale=0.5)).masks(scores)
    expected = {"a": round(0.5 * (10 + 40)), "b": round(0.5 * (6 + 4))}
    assert {name: int(mask.sum()) for name, mask in masks.items()} == expected
    assert TopK(ER(scale=0.5)).kept(shapes) == expected
    assert {name: mask.shape for name, mask in masks.items()} == shapes


@pytest.mark.parametrize("budget", [0.25, Uniform(0.25)])
def test_a_number_means_the_same_density_everywhere(budget: object) -> None:
    assert TopK(budget).kept({"a": (4, 4), "b": (10, 10)}) == {"a": 4, "b": 25}  # pyright: ignore[reportArgumentType]


def test_a_rule_complains_of_shapes_before_it_is_used() -> None:
    with pytest.raises(DensityError, match="'b'"):
        TopK(0.1).densities({"a": (10, 10), "b": (2, 2)})
    TopK(0.1).densities({"a": (10, 10)})
    Threshold().densities({"a": (1, 1)})


@pytest.mark.parametrize("rule", [Threshold(), TopK(0.5)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_scores_stay_as_they_are_and_give_masks_of_their_type(rule: Threshold | TopK, dtype: torch.dtype) -> None:
    scores = torch.randn(6, 4, generator=torch.Generator().manual_seed(1), dtype=dtype)
    before = scores.clone()
    mask = rule.masks({"w": scores})["w"]
    mask.zero_()
    assert torch.equal(scores, before)
    assert mask.dtype == dtype


def linear_problem(seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    rng = np.random.default_rng(seed)
    weight, scores, inputs, wanted = (
        torch.from_numpy(rng.standard_normal(s)) for s in ((5, 7), (5, 7), (9, 7), (9, 5))
    )
    scores[0, :3] = 0.0
    return weight, scores, inputs, wanted


@pytest.mark.parametrize("seed", range(5))
def test_threshold_gradient_is_that_of_the_mask(seed: int) -> None:
    weight, scores, inputs, wanted = linear_problem(seed)
    scores.requires_grad_()
    loss = ((inputs @ (weight * Threshold().masks({"w": scores})["w"]).T - wanted) ** 2).sum()
    loss.backward()
    # L = |x E' - y|^2 with E = W * M: dL/dE = 2 (x E' - y)' x and dL/dM = dL/dE * W.
    effective = weight * (scores.detach() >= 0)
    expected = 2 * (inputs @ effective.T - wanted).T @ inputs * weight
    assert scores.grad is not None
    torch.testing.assert_close(scores.grad, expected)


@pytest.mark.parametrize("seed", range(5))
def test_top_k_gradient_is_that_of_the_mask_with_the_sign_of_the_score(seed: int) -> None:
    weight, scores, inputs, wanted = linear_problem(seed)
    scores.requires_grad_()
    loss = ((inputs @ (weight * TopK(0.4).masks({"w": scores})["w"]).T - wanted) ** 2).sum()
    loss.backward()
    magnitudes = scores.detach().abs()
    # 14 of 35, and no ties but zeros, which are the smallest.
    effective = weight * (magnitudes >= magnitudes.flatten().sort().values[-14])
    sign = torch.where(scores.detach() >= 0, 1.0, -1.0)  # 1 at 0, so that a score of 0 can move
    expected = 2 * (inputs @ effective.T - wanted).T @ inputs * weight * sign
    assert scores.grad is not None
    torch.testing.assert_close(scores.grad, expected)


@pytest.mark.parametrize("rule", [Threshold(), TopK(0.3)])
def test_gradient_equals_that_of_a_dense_surrogate_in_a_deep_network(rule: Threshold | TopK) -> None:
    rng = torch.Generator().manual_seed(4)
    shapes = {"a": (10, 6), "b": (4, 10)}
    weights = {name: torch.randn(s, generator=rng, dtype=torch.float64) for name, s in shapes.items()}
    scores = {name: torch.randn(s, generator=rng, dtype=torch.float64).requires_grad_() for name, s in shapes.items()}
    inputs = torch.randn(5, 6, generator=rng, dtype=torch.float64)

    def loss(masks: dict[str, Tensor]) -> Tensor:
        hidden = (inputs @ (weights["a"] * masks["a"]).T).tanh()
        return (hidden @ (weights["b"] * masks["b"]).T).logsumexp(dim=1).sum()

    masks = rule.masks(scores)
    got = torch.autograd.grad(loss(masks), list(scores.values()))
    # A surrogate with the mask's value and the derivative of S, or of |S|.
    soft = {name: s if isinstance(rule, Threshold) else s.abs() for name, s in scores.items()}
    surrogate = {name: soft[name] - soft[name].detach() + masks[name].detach() for name in soft}
    expected = torch.autograd.grad(loss(surrogate), list(scores.values()))
    for ours, theirs in zip(got, expected, strict=True):
        torch.testing.assert_close(ours, theirs)
