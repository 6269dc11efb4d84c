"""GradientDescent against the same steps on a dense float64 network, differentiated by autograd."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from supermasks.errors import ConfigError, InputError
from supermasks.inference import Entropy, GradientDescent, MaxProbability, OneShot, SuperfluousNeurons
from supermasks.superposition import Superposition

Worlds = Callable[..., Any]

quietly = settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])


def entropy(world: Any, y: Tensor) -> Tensor:
    return -(y.softmax(1) * y.log_softmax(1)).sum(1).mean()


def superfluous(world: Any, y: Tensor) -> Tensor:
    """Linear in y, with the gradient of Lemma I.1: p_v at superfluous neurons only."""
    return (y.detach().softmax(1) * y)[:, world.classes :].sum(1).mean()


def largest(world: Any, y: Tensor) -> Tensor:
    return -y.softmax(1).amax(1).mean()


def path(world: Any, value: Callable[[Any, Tensor], Tensor], inputs: Tensor, steps: int, rate: float) -> list[Tensor]:
    """The coefficients after each step, in float64: multiplied by exponentials, and divided by their sum."""
    alpha, passed = torch.full((len(world.states),), 1 / len(world.states), dtype=torch.float64), []
    for _ in range(steps):
        a = alpha.clone().requires_grad_()
        (g,) = torch.autograd.grad(value(world, world.logits(a, inputs, buffers_at=alpha)), a)
        alpha = alpha * torch.exp(-rate * (g - g.min()) / (g.max() - g.min()))
        alpha = alpha / alpha.sum()
        passed.append(alpha)
    return passed


@pytest.mark.parametrize(
    ("objective", "value"), [(Entropy(), entropy), (SuperfluousNeurons(), superfluous), (MaxProbability(), largest)]
)
def test_the_coefficients_are_those_of_a_dense_network(world: Any, objective: Any, value: Any) -> None:
    for inputs in (world.inputs, *world.inputs[:2].split(1)):
        for rate in (0.2, 0.5):
            truth = path(world, value, inputs, 12, rate)
            for steps in (1, 2, 5, 12):
                belief = GradientDescent(objective, steps, rate).infer(world.superposition, inputs)
                torch.testing.assert_close(belief.alpha[0].double(), truth[steps - 1], rtol=1e-3, atol=1e-5)
                assert belief.chosen.tolist() == [int(truth[steps - 1].argmax())]
                assert torch.equal(belief.evidence, belief.alpha)
                assert belief.tied.tolist() == [False]


def test_it_descends(world: Any) -> None:
    found = [torch.full((5,), 0.2)] + [
        GradientDescent(steps=steps, learning_rate=0.2).infer(world.superposition, world.inputs).alpha[0]
        for steps in (1, 4, 16)
    ]
    values = [float(entropy(world, world.logits(alpha.double()))) for alpha in found]
    assert values == sorted(values, reverse=True)
    assert values[0] - values[-1] > 5e-3


def test_of_two_tasks_it_ends_in_a_minimum(worlds: Worlds) -> None:
    world = worlds("mlp", 2)
    inside = 0
    for inputs in (world.inputs, *world.inputs.split(1)):
        grid = torch.linspace(0, 1, 101, dtype=torch.float64)
        values = [float(entropy(world, world.logits(torch.stack([a, 1 - a]), inputs))) for a in grid]
        walled = [float("inf"), *values, float("inf")]
        minima = [n / 100 for n, value in enumerate(values) if value < min(walled[n], walled[n + 2])]
        belief = GradientDescent(steps=300, learning_rate=0.05).infer(world.superposition, inputs)
        found = float(belief.alpha[0, 0])
        assert min(abs(found - minimum) for minimum in minima) < 0.01
        inside += 0.01 < found < 0.99
    assert inside == 1


@pytest.mark.parametrize("tasks", [2, 3, 9])
@pytest.mark.parametrize("rate", [1e-3, 1.0, 1e3, 1e30])
def test_one_step_of_any_rate_chooses_as_one_shot(worlds: Worlds, tasks: int, rate: float) -> None:
    for kind in ("mlp", "cnn"):
        world = worlds(kind, tasks)
        for inputs in world.inputs.split(1):
            expected = OneShot().infer(world.superposition, inputs)
            belief = GradientDescent(steps=1, learning_rate=rate).infer(world.superposition, inputs)
            assert belief.tasks == expected.tasks
            if rate > 1e2:  # the corner to which Frank-Wolfe goes
                torch.testing.assert_close(belief.alpha, expected.alpha)


def test_of_two_tasks_the_ratio_of_one_step_is_that_of_the_rate(worlds: Worlds) -> None:
    world = worlds("mlp", 2)
    belief = GradientDescent(steps=1, learning_rate=0.7).infer(world.superposition, world.inputs)
    assert float(belief.alpha.max() / belief.alpha.min()) == pytest.approx(float(torch.tensor(0.7).exp()), rel=1e-5)


def test_one_task_has_it_all(worlds: Worlds) -> None:
    world = worlds("cnn", 1)
    belief = GradientDescent().infer_each(world.superposition, world.inputs)
    assert belief.alpha.tolist() == belief.evidence.tolist() == [[1.0]] * 7
    assert not belief.tied.any()


@pytest.mark.parametrize("tasks", range(2, 20))
def test_identical_tasks_keep_equal_coefficients(worlds: Worlds, tasks: int) -> None:
    world = worlds("mlp")
    belief = GradientDescent().infer(Superposition(world.network, world.states[:1] * tasks), world.inputs)
    torch.testing.assert_close(belief.alpha, torch.full((1, tasks), 1 / tasks))
    assert belief.chosen.tolist() == [0]
    assert belief.tied.tolist() == [True]


@quietly
@given(st.permutations([0, 1, 1, 2, 3, 4]), st.integers(0, 6))
def test_equal_tasks_have_equal_coefficients_and_the_earlier_is_chosen(
    worlds: Worlds, numbers: list[int], row: int
) -> None:
    world = worlds("mlp")
    belief = GradientDescent().infer(
        Superposition(world.network, [world.states[i] for i in numbers]), world.inputs[row][None]
    )
    first, second = (i for i, number in enumerate(numbers) if number == 1)
    assert belief.alpha[0, first] == belief.alpha[0, second]
    assert belief.chosen.tolist() != [second]
    assert belief.tied.tolist() == [belief.chosen.tolist() == [first]]


@quietly
@given(st.permutations(range(6)))
def test_permuting_tasks_permutes_the_belief(worlds: Worlds, order: list[int]) -> None:
    world = worlds("cnn", 6)
    straight = GradientDescent().infer(world.superposition, world.inputs)
    permuted = GradientDescent().infer(Superposition(world.network, [world.states[i] for i in order]), world.inputs)
    assert permuted.tasks == straight.tasks
    torch.testing.assert_close(permuted.alpha, straight.alpha[:, order], rtol=1e-3, atol=1e-5)


@quietly
@given(st.integers(1, 6), st.integers(1, 8), st.floats(1e-3, 1e6), st.floats(-3, 3))
def test_the_coefficients_stay_on_the_simplex(
    worlds: Worlds, tasks: int, steps: int, rate: float, exponent: float
) -> None:
    world = worlds("mlp", tasks)
    belief = GradientDescent(steps=steps, learning_rate=rate).infer(world.superposition, world.inputs * 10**exponent)
    assert float(belief.alpha.min()) >= 0
    assert float(belief.alpha.sum()) == pytest.approx(1, abs=1e-5)
    assert belief.alpha[0, belief.chosen[0]] == belief.alpha.max()


def test_the_scale_of_the_gradient_does_not_matter(world: Any) -> None:
    class ScaledEntropy(Entropy):
        def __call__(self, logits: Tensor, classes: int) -> Tensor:
            return 1024 * super().__call__(logits, classes)

    straight = GradientDescent().infer(world.superposition, world.inputs)
    scaled = GradientDescent(ScaledEntropy()).infer(world.superposition, world.inputs)
    torch.testing.assert_close(scaled.alpha, straight.alpha, rtol=1e-4, atol=1e-6)


def test_where_all_gradients_are_alike_one_is_enough(worlds: Worlds, monkeypatch: pytest.MonkeyPatch) -> None:
    import supermasks.inference.gradient_descent as module

    taken: list[Tensor] = []
    original = module.batch_gradient
    monkeypatch.setattr(module, "batch_gradient", lambda *a: taken.append(a[2]) or original(*a))
    world = worlds("mlp")
    GradientDescent().infer(Superposition(world.network, world.states[:1] * 3), world.inputs)
    assert len(taken) == 1
    taken.clear()
    GradientDescent(steps=4).infer(world.superposition, world.inputs)
    assert len(taken) == 4


def test_a_network_without_gradient_leaves_all_tasks_equal(worlds: Worlds) -> None:
    world = worlds("mlp", 4)
    belief = GradientDescent().infer(world.superposition, torch.zeros_like(world.inputs))
    assert belief.alpha.tolist() == [[0.25] * 4]
    assert belief.tied.tolist() == [True]


@pytest.mark.parametrize("steps", [0, -1, 2.5])
def test_steps_are_whole_and_at_least_one(steps: int) -> None:
    with pytest.raises(ConfigError, match=rf"at least 1, got {steps}|must be an integer, got {steps}"):
        GradientDescent(steps=steps)


@pytest.mark.parametrize("rate", [0, -1.0, float("inf"), float("nan")])
def test_the_rate_is_positive(rate: float) -> None:
    with pytest.raises(ConfigError, match=r"positive number, got .*; 0.5 is the default"):
        GradientDescent(learning_rate=rate)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("tasks", [1, 4])
def test_outputs_that_are_not_finite_are_an_error(worlds: Worlds, tasks: int, bad: float) -> None:
    world = worlds("mlp", tasks)
    with pytest.raises(InputError, match="not finite"):
        GradientDescent().infer(world.superposition, world.inputs * bad)
