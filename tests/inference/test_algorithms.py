"""Binary and Exhaustive against plain re-implementations, ties, and small numbers of tasks."""

from collections.abc import Callable
from dataclasses import replace
from itertools import permutations
from typing import Any

import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch
from torch import Tensor

from supermasks.errors import SupermasksWarning, TaskError
from supermasks.inference import Binary, Entropy, Exhaustive, MaxProbability, OneShot, SuperfluousNeurons
from supermasks.inference.task_inference import decide, uniform
from supermasks.superposition import Superposition

ALGORITHMS = [OneShot(), Binary(), Exhaustive()]
Worlds = Callable[..., Any]


def named(algorithm: object) -> str:
    return type(algorithm).__name__


def entropy_gradient(world: Any, alpha: np.ndarray, inputs: Tensor) -> np.ndarray:
    """-dH/dalpha of the mean entropy at alpha, for all tasks, dense and in float64."""
    a = torch.from_numpy(alpha).requires_grad_()
    y = world.logits(a, inputs)
    h = -(y.softmax(1) * y.log_softmax(1)).sum(1).mean()
    return -torch.autograd.grad(h, a)[0].numpy()


def algorithm_2(world: Any, inputs: Tensor) -> int:
    """Binary as the paper prints it; the median is over the tasks that are still in."""
    k = len(world.states)
    alpha = np.full(k, 1 / k)
    while np.count_nonzero(alpha) > 1:
        g = entropy_gradient(world, alpha, inputs)
        inside = alpha > 0
        alpha[inside & (g <= np.median(g[inside]))] = 0
        alpha /= alpha.sum()
    return int(alpha.argmax())


@pytest.mark.parametrize("kind", ["mlp", "cnn"])
@pytest.mark.parametrize("tasks", range(1, 10))
def test_binary_is_algorithm_2_where_nothing_ties(worlds: Worlds, kind: str, tasks: int) -> None:
    world = worlds(kind, tasks)
    for inputs in (world.inputs, *world.inputs.split(1)):
        belief = Binary().infer(world.superposition, inputs)
        assert belief.chosen.tolist() == [algorithm_2(world, inputs)]
        assert belief.tied.tolist() == [False]
        assert belief.alpha.tolist() == torch.eye(tasks)[belief.chosen].tolist()


def test_binary_takes_as_many_gradients_as_the_tasks_can_be_halved(
    worlds: Worlds, monkeypatch: pytest.MonkeyPatch
) -> None:
    import supermasks.inference.top_gamma as module

    rounds: list[int] = []
    original = module.batch_gradient

    def counting(*arguments: Any) -> Tensor:
        rounds.append(len(arguments[4]))
        return original(*arguments)

    monkeypatch.setattr(module, "batch_gradient", counting)
    for tasks, expected in ((2, [2]), (3, [3]), (4, [4, 2]), (7, [7, 3]), (8, [8, 4, 2]), (9, [9, 4, 2])):
        rounds.clear()
        world = worlds("mlp", tasks)
        belief = Binary().infer(world.superposition, world.inputs)
        assert rounds == expected
        # The evidence is the last round's; all that went before are out for good.
        assert int(torch.isfinite(belief.evidence).sum()) == expected[-1]


def test_binary_of_each_input_is_binary_of_that_input_alone(world: Any) -> None:
    each = Binary().infer_each(world.superposition, world.inputs)
    assert each.chosen.tolist() == [algorithm_2(world, one[None]) for one in world.inputs]


@pytest.mark.parametrize("tasks", [1, 2, 5, 9])
@pytest.mark.parametrize("objective", ["H", "G", "M"])
def test_exhaustive_is_brute_force(worlds: Worlds, tasks: int, objective: str) -> None:
    for kind in ("mlp", "cnn"):
        world = worlds(kind, tasks)
        eye = torch.eye(tasks, dtype=torch.float64)
        p = np.stack([scipy.special.softmax(world.logits(a).numpy(), axis=1) for a in eye])  # tasks x inputs x outputs
        cost, ours = {
            "H": (scipy.stats.entropy(p, axis=2), Entropy()),
            "G": (np.log(p[:, :, world.classes :].sum(axis=2)), SuperfluousNeurons()),
            "M": (-p.max(axis=2), MaxProbability()),
        }[objective]
        each = Exhaustive(ours).infer_each(world.superposition, world.inputs)
        np.testing.assert_allclose(each.evidence.numpy(), -cost.T, rtol=1e-4, atol=1e-5)
        assert each.chosen.tolist() == cost.argmin(axis=0).tolist()
        together = Exhaustive(ours).infer(world.superposition, world.inputs)
        assert together.chosen.tolist() == [cost.mean(axis=1).argmin()]


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=named)
@pytest.mark.parametrize("tasks", [2, 3, 4, 5, 6, 7, 8, 9])
def test_identical_tasks_tie_and_the_earliest_is_chosen(worlds: Worlds, algorithm: Any, tasks: int) -> None:
    world = worlds("mlp")
    same = Superposition(world.network, [world.states[0]] * tasks)
    for belief in (algorithm.infer(same, world.inputs), algorithm.infer_each(same, world.inputs)):
        assert belief.chosen.unique().tolist() == [0]
        assert belief.tied.all()


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=named)
def test_of_two_equal_tasks_the_earlier_is_chosen_wherever_they_are(worlds: Worlds, algorithm: Any) -> None:
    world = worlds("mlp", 4)
    alone = algorithm.infer_each(world.superposition, world.inputs).chosen
    for row, winner in enumerate(alone.tolist()):
        # The winner stands twice at the end, among tasks that it beats. It beats them also at its double weight.
        others = [state for i, state in enumerate(world.states) if i != winner]
        states = [others[0], world.states[winner], others[1], world.states[winner]]
        belief = algorithm.infer(Superposition(world.network, states), world.inputs[row][None])
        assert belief.chosen.tolist() != [3]
        if belief.chosen.tolist() == [1]:
            assert belief.tied.tolist() == [True]
            break
    else:
        pytest.fail("no input chose its task again, so nothing was tested")


def test_binary_remembers_a_tie_of_an_earlier_round(worlds: Worlds) -> None:
    world = worlds("mlp", 6)
    tested = 0
    for best, twice, worst in permutations(world.states, 3):
        # The second and third best of four are the same: the one learned first stays; the last round is not a tie.
        four = replace(world, states=[worst, twice, best, twice])
        g = entropy_gradient(four, np.full(4, 0.25), world.inputs)
        if g[2] > g[1] > g[0]:
            belief = Binary().infer(four.superposition, world.inputs)
            assert torch.isfinite(belief.evidence).tolist() == [[False, True, True, False]]
            assert belief.tied.tolist() == [True]
            tested += 1
    assert tested > 0


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=named)
def test_one_task_is_always_chosen(world: Any, algorithm: Any) -> None:
    only = Superposition(world.network, world.states[2:3])
    each = algorithm.infer_each(only, world.inputs)
    assert each.tasks == ["task-2"] * 7
    assert algorithm.infer(only, world.inputs).tasks == ["task-2"]
    assert not each.tied.any()
    assert each.alpha.tolist() == [[1.0]] * 7


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=named)
def test_no_tasks_are_an_error(world: Any, algorithm: Any) -> None:
    for ask in (algorithm.infer, algorithm.infer_each):
        with pytest.raises(TaskError, match="at least one task to choose among"):
            ask(Superposition(world.network, []), world.inputs)


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=named)
def test_permuting_tasks_permutes_the_belief(world: Any, algorithm: Any) -> None:
    order = [2, 4, 0, 3, 1]
    belief = algorithm.infer_each(world.superposition, world.inputs)
    permuted = algorithm.infer_each(Superposition(world.network, [world.states[i] for i in order]), world.inputs)
    assert permuted.tasks == belief.tasks
    torch.testing.assert_close(permuted.alpha, belief.alpha[:, order])
    torch.testing.assert_close(permuted.evidence, belief.evidence[:, order], rtol=1e-4, atol=1e-5)


def test_uniform_coefficients(world: Any) -> None:
    assert uniform(world.superposition).tolist() == pytest.approx([0.2] * 5)
    assert uniform(world.superposition, [3, 1]).tolist() == [0, 0.5, 0, 0.5, 0]


def test_deciding_takes_the_largest_and_of_equals_the_earliest(world: Any) -> None:
    evidence = torch.tensor(
        [[1.0, 3, 2, 3, 3], [0, 0, 0, 0, 0], [-5, -4, -3, -2, -1], [-torch.inf, -1, -torch.inf, -1, -2]]
    )
    with pytest.warns(SupermasksWarning, match="evidence of 1 of 4 inputs is 0"):
        belief = decide(world.superposition, evidence)
    assert belief.chosen.tolist() == [1, 0, 4, 1]
    assert belief.tied.tolist() == [True, True, False, True]
    assert belief.alpha.tolist() == torch.eye(5)[[1, 0, 4, 1]].tolist()
    assert belief.candidates == tuple(f"task-{i}" for i in range(5))
    earlier = decide(world.superposition, evidence[[0, 2, 3]], torch.tensor([False, True, False]))
    assert earlier.tied.tolist() == [True, True, True]


def test_a_tie_below_the_decision_is_not_a_tie(world: Any) -> None:
    assert decide(world.superposition, torch.tensor([[1.0, 1, 2, 0, 0]])).tied.tolist() == [False]
