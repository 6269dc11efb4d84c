"""Evidence that is standardised parameter by parameter, against a dense float64 network."""

from collections.abc import Callable
from math import sqrt
from typing import Any

import pytest
import torch
from torch import Tensor

from supermasks.errors import ConfigError
from supermasks.inference import OneShot, TwoShot
from supermasks.superposition import Superposition


def standardised(world: Any, row: int, among: list[int]) -> Tensor:
    """The evidence of one input for the tasks `among`, from one gradient in the coefficients of each parameter."""
    alpha = torch.zeros(len(world.states), dtype=torch.float64)
    alpha[among] = 1 / len(among)
    total = torch.zeros(len(among), dtype=torch.float64)
    for name, weight in world.network.weights.items():
        others = world.mixed(alpha)

        def entropy(a: Tensor, name: str = name, others: dict[str, Tensor] = others) -> Tensor:
            y = world.plain({**others, name: world.mixed(a, alpha)[name]}, world.inputs[row : row + 1].double())
            return -(y.softmax(1) * y.log_softmax(1)).sum()

        evidence = -torch.autograd.functional.jacobian(entropy, alpha)[among]  # pyright: ignore
        total += sqrt(weight.numel()) * (evidence - evidence.mean()) / evidence.std(correction=0)
    return total.float()


@pytest.mark.parametrize("rows", [2, 7, 12])  # by weight gradients, and by directions
def test_each_parameter_counts_by_the_root_of_its_size(worlds: Callable[..., Any], rows: int) -> None:
    for kind in ("mlp", "cnn"):
        world = worlds(kind)
        inputs = world.inputs.repeat(2, *(1 for _ in world.inputs.shape[1:]))[:rows]
        got = OneShot(standardised=True).infer_each(world.superposition, inputs)
        for row in range(rows):
            expected = standardised(world, row % len(world.inputs), [0, 1, 2, 3, 4])
            torch.testing.assert_close(got.evidence[row], expected, rtol=1e-3, atol=1e-3)
            alone = OneShot(standardised=True).infer(world.superposition, inputs[row : row + 1])
            torch.testing.assert_close(alone.evidence[0], expected, rtol=1e-3, atol=1e-3)


def test_a_second_gradient_is_standardised_over_the_listed_tasks(world: Any) -> None:
    got = TwoShot(listed=3, standardised=True).infer_each(world.superposition, world.inputs)
    for row in range(len(world.inputs)):
        among = sorted(standardised(world, row, [0, 1, 2, 3, 4]).topk(3).indices.tolist())
        expected = torch.full((5,), -torch.inf)
        expected[among] = standardised(world, row, among)
        torch.testing.assert_close(got.evidence[row], expected, rtol=1e-3, atol=1e-3)


def test_the_scale_of_a_gradient_does_not_matter(worlds: Callable[..., Any]) -> None:
    world = worlds("mlp")
    evidence = OneShot(standardised=True).infer_each(world.superposition, world.inputs).evidence
    sizes = torch.tensor([weight.numel() for weight in world.network.weights.values()])
    # Each parameter gives standard scores, so that no evidence exceeds what their number allows.
    assert float(evidence.abs().max()) <= float(sizes.sqrt().sum()) * sqrt(len(world.states) - 1)
    torch.testing.assert_close(evidence.mean(dim=1), torch.zeros(len(evidence)), rtol=0, atol=1e-4)


def test_one_task_is_certain_and_equal_tasks_are_a_tie(world: Any) -> None:
    alone = Superposition(world.network, world.states[:1])
    assert OneShot(standardised=True).infer_each(alone, world.inputs).chosen.tolist() == [0] * len(world.inputs)
    same = OneShot(standardised=True).infer_each(Superposition(world.network, world.states[:1] * 4), world.inputs)
    assert same.tied.all()


def test_a_shortlist_cannot_be_standardised() -> None:
    with pytest.raises(ConfigError, match="needs all tasks, got exact=False"):
        OneShot(exact=False, standardised=True)
