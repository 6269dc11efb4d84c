"""Two gradients, against a dense float64 network: which tasks are listed, and what the second one says of them."""

from typing import Any

import pytest
import torch
from states import changed

from supermasks.errors import ConfigError
from supermasks.inference import Entropy, OneShot, SuperfluousNeurons, TwoShot
from supermasks.superposition import Superposition

FORMULAS = {
    Entropy: lambda y, at, classes: -(y.softmax(1) * y.log_softmax(1)).sum(1),
    SuperfluousNeurons: lambda y, at, classes: (at.softmax(1) * y)[:, classes:].sum(1),
}


def gradients(world: Any, objective: Entropy | SuperfluousNeurons, alpha: torch.Tensor) -> torch.Tensor:
    """The gradient of each input's objective in alpha, in float64 through dense masks."""
    alpha = alpha.double()
    at = world.logits(alpha).detach()
    formula = FORMULAS[type(objective)]
    return torch.autograd.functional.jacobian(  # pyright: ignore
        lambda a: formula(world.logits(a, buffers_at=alpha), at, world.classes), alpha
    )


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("objective", [Entropy(), SuperfluousNeurons()], ids=["H", "G"])
@pytest.mark.parametrize("listed", [2, 3, 5, 32])
def test_the_best_tasks_are_mixed_anew(world: Any, listed: int, objective: Any, exact: bool) -> None:
    inference = TwoShot(objective, exact, listed=listed)
    first = -gradients(world, objective, torch.full((5,), 1 / 5))
    each = inference.infer_each(world.superposition, world.inputs)
    for row in range(len(world.inputs)):
        among = first[row].topk(min(listed, 5)).indices
        alpha = torch.zeros(5)
        alpha[among] = 1 / len(among)
        expected = torch.full((5,), -torch.inf)
        expected[among] = -gradients(world, objective, alpha)[row, among].float()
        torch.testing.assert_close(each.evidence[row], expected, rtol=1e-4, atol=1e-5)
        assert each.chosen[row] == expected.argmax()
        alone = inference.infer(world.superposition, world.inputs[row : row + 1])
        torch.testing.assert_close(alone.evidence[0], each.evidence[row], rtol=1e-4, atol=1e-5)
    assert not each.tied.any()


def test_a_batch_is_judged_by_its_mean(world: Any) -> None:
    first = -gradients(world, Entropy(), torch.full((5,), 1 / 5)).mean(dim=0)
    among = first.topk(3).indices
    alpha = torch.zeros(5)
    alpha[among] = 1 / 3
    expected = torch.full((1, 5), -torch.inf)
    expected[0, among] = -gradients(world, Entropy(), alpha).mean(dim=0)[among].float()
    got = TwoShot(Entropy(), listed=3).infer(world.superposition, world.inputs)
    torch.testing.assert_close(got.evidence, expected, rtol=1e-4, atol=1e-5)


def test_centred_and_first_layers_are_those_of_both_gradients(world: Any) -> None:
    centred, plain = TwoShot(listed=3, centred=True), TwoShot(listed=3)
    evidence = centred.infer_each(world.superposition, world.inputs).evidence
    assert not torch.allclose(evidence, plain.infer_each(world.superposition, world.inputs).evidence)
    # Among all tasks both mixtures are one, so that it is One-Shot.
    for settings in ({"centred": True}, {"layers": 1}, {"layers": 2, "centred": True}):
        two = TwoShot(**settings).infer_each(world.superposition, world.inputs)
        one = OneShot(**settings).infer_each(world.superposition, world.inputs)
        torch.testing.assert_close(two.evidence, one.evidence, rtol=1e-4, atol=1e-5)


def test_equal_tasks_at_the_end_of_the_list_are_a_tie(world: Any) -> None:
    states = [world.states[0], world.states[1], world.states[1], world.states[1]]
    names = ("a", "b", "c", "d")
    twins = Superposition(world.network, [changed(state, name=name) for state, name in zip(states, names, strict=True)])
    found = TwoShot(listed=2).infer_each(twins, world.inputs)
    listed = found.evidence > -torch.inf
    assert listed.sum(dim=1).tolist() == [2] * len(world.inputs)
    assert found.tied.all()  # of three equal ones not all have a place
    assert not listed[:, 3].any()


def test_one_task_and_too_short_lists(world: Any) -> None:
    alone = Superposition(world.network, world.states[:1])
    assert TwoShot().infer_each(alone, world.inputs).chosen.tolist() == [0] * len(world.inputs)
    with pytest.raises(ConfigError, match="at least 2 tasks"):
        TwoShot(listed=1)
