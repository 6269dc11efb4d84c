"""What every mask rule keeps to; a new rule joins with one row."""

from math import prod

import pytest
import torch

from supermasks.masks import ER, ERK, Annealed, Blocks, Drop, Inputs, Mask, MaskRule, Neurons, Threshold, TopK, Uniform
from supermasks.spec import build, describe, kinds

ROWS: list[MaskRule] = [
    Threshold(),
    Threshold(-0.1),
    TopK(0.5),
    TopK(1),
    TopK(Uniform(0.1)),
    TopK(ER(2.0)),
    TopK(ERK(0.3)),
    Drop(0),
    Drop(17),
    Drop(share=0.1),
    Drop(17, by_layer=True),
    Drop(share=0.1, by_layer=True),
    Drop(5, of=Neurons()),
    Drop(2, by_layer=True, of=Inputs()),
    Drop(share=0.2, of=Blocks(5, 3)),
    Annealed(Drop(17), start=3.0),
    Annealed(Drop(share=0.05, by_layer=True)),
]
SHAPES = {"linear": (12, 20), "conv": (6, 4, 3, 3)}

rows = pytest.mark.parametrize("rule", ROWS, ids=repr)


def budget(rule: MaskRule) -> Drop | None:
    """The budget of dropped weights, if the rule has one."""
    return rule if isinstance(rule, Drop) else rule.rule if isinstance(rule, Annealed) else None


def over_the_network(rule: MaskRule) -> bool:
    """Whether the layers of a network share what is dropped."""
    drop = budget(rule)
    return drop is not None and not drop.by_layer


def scores(seed: int = 0) -> dict[str, torch.Tensor]:
    rng = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=rng, requires_grad=True) for name, shape in SHAPES.items()}


def test_every_rule_has_a_row() -> None:
    assert {type(rule) for rule in ROWS} == {
        kind for kind in kinds(MaskRule) if kind.__module__.startswith("supermasks.")
    }


@rows
def test_masks_have_the_names_and_shapes_of_the_scores_and_are_0_and_1(rule: MaskRule) -> None:
    rule.densities(SHAPES)
    masks = rule.masks(scores())
    assert {name: tuple(mask.shape) for name, mask in masks.items()} == SHAPES
    for mask in masks.values():
        assert set(mask.unique().tolist()) <= {0.0, 1.0}
        assert mask.sum() > 0
    assert Mask.pack({name: mask > 0.5 for name, mask in masks.items()}).size() == sum(map(prod, SHAPES.values()))


@pytest.mark.parametrize("rule", [rule for rule in ROWS if not over_the_network(rule)], ids=repr)
def test_scores_of_another_layer_do_not_matter(rule: MaskRule) -> None:
    first, second = scores(0), scores(1)
    both = rule.masks(first)
    mixed = rule.masks({"linear": first["linear"], "conv": second["conv"]})
    assert torch.equal(both["linear"], mixed["linear"])


@rows
def test_raising_the_score_of_a_kept_weight_never_drops_it(rule: MaskRule) -> None:
    values = scores()
    mask = rule.masks(values)["linear"]
    kept = torch.nonzero(mask.flatten() == 1).flatten()
    for n in kept[:10].tolist():
        raised = {name: value.detach().clone() for name, value in values.items()}
        entry = raised["linear"].view(-1)
        # Away from zero where the magnitude counts, upwards where the value does.
        entry[n] += 5 if entry[n] >= 0 or not isinstance(rule, TopK) else -5
        assert rule.masks(raised)["linear"].flatten()[n] == 1


@rows
def test_each_score_has_a_gradient_kept_or_not(rule: MaskRule) -> None:
    values = scores()
    rng = torch.Generator().manual_seed(3)
    upstream = {name: torch.randn(shape, generator=rng) for name, shape in SHAPES.items()}
    sum((mask * upstream[name]).sum() for name, mask in rule.masks(values).items()).backward()
    drop = budget(rule)
    for name, value in values.items():
        assert value.grad is not None
        if drop is None or drop.of is None:
            torch.testing.assert_close(value.grad.abs(), upstream[name].abs())
        else:  # the mean over its group
            expected = drop.of.spread(drop.of.means(upstream[name]), SHAPES[name])
            torch.testing.assert_close(value.grad, expected)


@rows
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_effective_weights_are_the_product_and_its_gradient(rule: MaskRule, dtype: torch.dtype) -> None:
    rng = torch.Generator().manual_seed(4)
    weights = {name: torch.randn(shape, generator=rng).to(dtype) for name, shape in SHAPES.items()}
    upstream = {name: torch.randn(shape, generator=rng) for name, shape in SHAPES.items()}
    before, values, expected = {n: w.clone() for n, w in weights.items()}, scores(), scores()
    effective = rule.masked(weights, values)
    products = {name: weights[name] * mask for name, mask in rule.masks(expected).items()}
    for results in (effective, products):
        sum((result * upstream[name]).sum() for name, result in results.items()).backward()
    for name, product in products.items():
        assert effective[name].dtype == product.dtype
        assert torch.equal(effective[name], product)
        assert torch.equal(values[name].grad, expected[name].grad)  # pyright: ignore[reportArgumentType]
        assert torch.equal(weights[name], before[name])


@rows
def test_what_is_used_at_the_end_of_the_training_is_the_rule(rule: MaskRule) -> None:
    first, last = rule.at(0.0).masks(scores()), rule.at(1.0).masks(scores())
    assert all(torch.equal(last[name], mask) for name, mask in rule.masks(scores()).items())
    if not isinstance(rule, Annealed):
        assert all(torch.equal(first[name], last[name]) for name in SHAPES)


@rows
def test_the_same_scores_give_the_same_mask(rule: MaskRule) -> None:
    first, again = rule.masks(scores()), rule.masks(scores())
    assert all(torch.equal(first[name], again[name]) for name in SHAPES)


@rows
def test_a_rule_is_a_value_that_is_stored(rule: MaskRule) -> None:
    assert build(describe(rule), MaskRule) == rule
    hash(rule)
