"""TopGamma against the paper's rule written out densely, and against its two ends, Binary and One-Shot."""

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from itertools import permutations
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from supermasks.errors import ConfigError, InputError
from supermasks.inference import Binary, Entropy, OneShot, SuperfluousNeurons, TopGamma
from supermasks.superposition import Superposition

Worlds = Callable[..., Any]

GAMMAS = [Fraction(1, 100), Fraction(1, 5), Fraction(1, 3), Fraction(1, 2), Fraction(3, 4), Fraction(99, 100)]


def entropy_gradient(world: Any, alpha: np.ndarray, inputs: Tensor) -> np.ndarray:
    """-dH/dalpha of the mean entropy at alpha, for all tasks, dense and in float64."""
    a = torch.from_numpy(alpha).requires_grad_()
    y = world.logits(a, inputs)
    h = -(y.softmax(1) * y.log_softmax(1)).sum(1).mean()
    return -torch.autograd.grad(h, a)[0].numpy()


def algorithm_2(world: Any, inputs: Tensor, gamma: Fraction) -> tuple[int, list[int]]:
    """Algorithm 2 with line 6 of Appendix F: out go all of `g_i <= top-gamma-element(g)`. And the last ones inside."""
    alpha = np.full(len(world.states), 1 / len(world.states))
    inside = [*range(len(alpha))]
    while np.count_nonzero(alpha) > 1:
        inside = np.flatnonzero(alpha).tolist()
        g = entropy_gradient(world, alpha, inputs)
        above = min(max(int(gamma * len(inside)), 1), len(inside) - 1)
        element = np.sort(g[inside])[::-1][above]
        alpha[g <= element] = 0
        alpha[alpha > 0] = 1 / np.count_nonzero(alpha)
    return int(alpha.argmax()), inside


@pytest.mark.parametrize("kind", ["mlp", "cnn"])
@pytest.mark.parametrize("tasks", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("gamma", GAMMAS, ids=str)
def test_it_is_the_papers_rule_where_nothing_ties(worlds: Worlds, kind: str, tasks: int, gamma: Fraction) -> None:
    world = worlds(kind, tasks)
    for inputs in (world.inputs, *world.inputs[:3].split(1)):
        belief = TopGamma(gamma=float(gamma)).infer(world.superposition, inputs)
        chosen, inside = algorithm_2(world, inputs, gamma)
        assert belief.chosen.tolist() == [chosen]
        assert torch.isfinite(belief.evidence[0]).nonzero().flatten().tolist() == inside
        assert belief.tied.tolist() == [False]
        assert belief.alpha.tolist() == torch.eye(tasks)[belief.chosen].tolist()


@pytest.mark.parametrize("tasks", range(1, 10))
@pytest.mark.parametrize("objective", [Entropy(), SuperfluousNeurons()], ids=lambda o: type(o).__name__)
def test_a_half_is_binary_and_one_of_all_is_one_shot(worlds: Worlds, tasks: int, objective: Any) -> None:
    world = worlds("mlp", tasks)
    ends = [(Binary(objective), 1 / 2)]
    if tasks > 1:
        ends += [(OneShot(objective), 1 / tasks), (OneShot(objective), 1e-3)]
    for end, gamma in ends:
        for ask in ("infer", "infer_each"):
            expected = getattr(end, ask)(world.superposition, world.inputs)
            belief = getattr(TopGamma(objective, gamma), ask)(world.superposition, world.inputs)
            assert belief.chosen.tolist() == expected.chosen.tolist()
            assert belief.tied.tolist() == expected.tied.tolist()
            torch.testing.assert_close(belief.evidence, expected.evidence, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("gamma", "tasks", "expected"),
    [
        (1 / 9, 9, [9]),
        (1 / 3, 9, [9, 3]),
        (0.25, 9, [9, 2]),
        (0.5, 9, [9, 4, 2]),
        (0.7, 9, [9, 6, 4, 2]),
        (0.999, 9, [9, 8, 7, 6, 5, 4, 3, 2]),
        (0.999, 2, [2]),
        (0.999, 1, [1]),
    ],
)
def test_a_round_keeps_the_fraction_gamma(
    worlds: Worlds, monkeypatch: pytest.MonkeyPatch, gamma: float, tasks: int, expected: list[int]
) -> None:
    import supermasks.inference.top_gamma as module

    rounds: list[int] = []
    original = module.batch_gradient

    def counting(*arguments: Any) -> Tensor:
        rounds.append(len(arguments[4]))
        return original(*arguments)

    monkeypatch.setattr(module, "batch_gradient", counting)
    world = worlds("mlp", tasks)
    belief = TopGamma(gamma=gamma).infer(world.superposition, world.inputs)
    assert rounds == expected
    assert int(torch.isfinite(belief.evidence).sum()) == expected[-1]


@given(st.integers(1, 999), st.integers(2, 1000), st.integers(2, 5000))
def test_the_fraction_is_exact_and_the_rounds_end(part: int, whole: int, tasks: int) -> None:
    if part >= whole:
        part, whole = (whole, part) if part > whole else (1, whole)
    inference = TopGamma(gamma=part / whole)
    assert inference.kept(tasks) == min(max(part * tasks // whole, 1), tasks - 1)


@given(st.floats(0, 1, exclude_min=True, exclude_max=True), st.integers(2, 2**40))
def test_at_least_one_stays_and_one_goes(gamma: float, tasks: int) -> None:
    assert 1 <= TopGamma(gamma=gamma).kept(tasks) < tasks


@pytest.mark.parametrize("gamma", [0, 0.0, 1, 1.0, -0.1, 1.5, float("nan"), float("inf")])
def test_a_fraction_of_none_or_all_is_refused(gamma: float) -> None:
    with pytest.raises(ConfigError, match=r"above 0 and below 1, got .*; 1/2 is Binary"):
        TopGamma(gamma=gamma)


@pytest.mark.parametrize("gamma", GAMMAS, ids=str)
@pytest.mark.parametrize("tasks", range(2, 10))
def test_identical_tasks_tie_and_the_earliest_is_chosen(worlds: Worlds, gamma: Fraction, tasks: int) -> None:
    world = worlds("mlp")
    same = Superposition(world.network, world.states[:1] * tasks)
    belief = TopGamma(gamma=float(gamma)).infer_each(same, world.inputs)
    assert belief.chosen.tolist() == [0] * 7
    assert belief.tied.all()


def test_it_remembers_a_tie_of_an_earlier_round(worlds: Worlds) -> None:
    world = worlds("mlp", 6)
    tested = 0
    for best, good, twice in permutations(world.states, 3):
        # The two worst of four are the same: the one learned first stays; the next round is not a tie.
        four = replace(world, states=[best, twice, good, twice])
        g = entropy_gradient(four, np.full(4, 0.25), world.inputs)
        if g[0] > g[2] > g[1]:
            belief = TopGamma(gamma=0.75).infer(four.superposition, world.inputs)
            assert belief.evidence[0, 3] == -torch.inf
            assert belief.chosen.tolist() != [3]
            assert belief.tied.tolist() == [True]
            tested += 1
    assert tested > 0


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.permutations(range(6)), st.sampled_from([0.2, 1 / 3, 0.5, 0.6, 0.9]))
def test_permuting_tasks_permutes_the_belief(worlds: Worlds, order: list[int], gamma: float) -> None:
    world = worlds("mlp", 6)
    inference = TopGamma(gamma=gamma)
    straight = inference.infer(world.superposition, world.inputs)
    permuted = inference.infer(Superposition(world.network, [world.states[i] for i in order]), world.inputs)
    assert permuted.tasks == straight.tasks
    assert torch.equal(permuted.alpha, straight.alpha[:, order])
    torch.testing.assert_close(permuted.evidence, straight.evidence[:, order], rtol=1e-4, atol=1e-5)


def test_outputs_that_are_not_finite_are_an_error(world: Any) -> None:
    with pytest.raises(InputError, match="not finite"):
        TopGamma(gamma=0.75).infer(world.superposition, world.inputs * torch.nan)
