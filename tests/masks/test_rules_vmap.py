"""Under `torch.vmap`, by which tasks are trained together, each has the mask and the gradient that it has alone."""

import pytest
import torch
from torch import Tensor

from supermasks.masks import ER, Annealed, Blocks, Drop, MaskRule, Neurons, Threshold, TopK

RULES = [
    Threshold(),
    Threshold(0.2),
    TopK(0.3),
    TopK(ER(1.0)),
    Drop(share=0.2),
    Drop(3, by_layer=True),
    Drop(5, of=Neurons()),
    Drop(share=0.3, of=Blocks(2, 2)),
    Annealed(Drop(10), start=2.0),
]
SHAPES = {"linear": (6, 7), "conv": (4, 3, 2, 2), "thin": (9, 1)}


def stacked_scores(tasks: int) -> dict[str, Tensor]:
    rng = torch.Generator().manual_seed(0)
    # Few values, to get ties, and zeros, whose gradient must have a sign.
    return {name: torch.randint(-3, 4, (tasks, *shape), generator=rng) / 4 for name, shape in SHAPES.items()}


@pytest.mark.parametrize("rule", RULES, ids=repr)
@pytest.mark.parametrize("dim", [0, 1])
def test_masks_and_gradients_are_those_of_each_alone(rule: MaskRule, dim: int) -> None:
    scores, rng = stacked_scores(5), torch.Generator().manual_seed(1)
    upstream = {name: torch.randn(score.shape, generator=rng) for name, score in scores.items()}
    moved = {name: score.movedim(0, dim).clone().requires_grad_() for name, score in scores.items()}
    masks = torch.vmap(rule.masks, in_dims=dim)(moved)
    sum((mask * upstream[name]).sum() for name, mask in masks.items()).backward()
    for task in range(5):
        own = {name: score[task].clone().requires_grad_() for name, score in scores.items()}
        alone = rule.masks(own)
        sum((mask * upstream[name][task]).sum() for name, mask in alone.items()).backward()
        for name, mask in alone.items():
            if isinstance(rule, TopK):  # which of equal scores are kept is open
                assert masks[name][task].sum() == mask.sum()
                kept, expected = (m.flatten() == 1 for m in (masks[name][task], mask))
                magnitudes = own[name].detach().abs().flatten()
                assert torch.equal(magnitudes[kept].sort().values, magnitudes[expected].sort().values)
            else:
                assert torch.equal(masks[name][task], mask)
            assert torch.equal(moved[name].grad.movedim(dim, 0)[task], own[name].grad)


@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_some_scores_can_be_the_same_for_all(rule: MaskRule) -> None:
    scores = stacked_scores(3)
    shared = scores["conv"][0]
    masks = torch.vmap(lambda linear: rule.masks({"linear": linear, "conv": shared}))(scores["linear"])
    for task in range(3):
        alone = rule.masks({"linear": scores["linear"][task], "conv": shared})
        assert {n: int(m[task].sum()) for n, m in masks.items()} == {n: int(m.sum()) for n, m in alone.items()}


@pytest.mark.parametrize("rule", RULES, ids=repr)
@pytest.mark.parametrize("own_weights", [False, True])
def test_effective_weights_are_those_of_each_alone(rule: MaskRule, own_weights: bool) -> None:
    rng = torch.Generator().manual_seed(2)
    shape = (5, 6, 7)
    scores = torch.randn(shape, generator=rng).requires_grad_()  # no ties: which of them are kept is open
    weights, upstream = torch.randn(shape, generator=rng), torch.randn(shape, generator=rng)
    effective = torch.vmap(lambda w, s: rule.masked({"w": w}, {"w": s})["w"], in_dims=(0 if own_weights else None, 0))(
        weights if own_weights else weights[0], scores
    )
    (effective * upstream).sum().backward()
    for task in range(5):
        own, weight = scores[task].detach().clone().requires_grad_(), weights[task if own_weights else 0]
        product = weight * rule.masks({"w": own})["w"]
        (product * upstream[task]).sum().backward()
        assert torch.equal(effective[task], product)
        assert torch.equal(scores.grad[task], own.grad)  # pyright: ignore[reportArgumentType, reportOptionalSubscript]


def test_vmap_within_vmap() -> None:
    scores = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    masks = torch.vmap(torch.vmap(lambda score: TopK(0.25).masks({"w": score})["w"]))(scores)
    for i in range(2):
        for j in range(3):
            assert torch.equal(masks[i, j], TopK(0.25).masks({"w": scores[i, j]})["w"])


@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_scores_of_an_unused_mask_get_no_gradient(rule: MaskRule) -> None:
    scores = {name: score[0].requires_grad_() for name, score in stacked_scores(1).items()}
    rule.masks(scores)["linear"].sum().backward()
    assert scores["linear"].grad is not None
    assert scores["conv"].grad is None
