"""One gradient lists tasks and their masks are tried, against a dense float64 network."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from supermasks.errors import ConfigError, InputError
from supermasks.inference import Entropy, Exhaustive, ListThenTry, OneShot, SuperfluousNeurons
from supermasks.superposition import Superposition

LOSSES: dict[type, Callable[[Tensor, int], Tensor]] = {
    Entropy: lambda y, classes: -(y.softmax(1) * y.log_softmax(1)).sum(1),
    SuperfluousNeurons: lambda y, classes: y.softmax(1)[:, classes:].sum(1).log(),
}


def values(world: Any, objective: Any) -> Tensor:
    """The objective of each input with each mask alone, `inputs x tasks`, in float64 through dense masks."""
    loss = LOSSES[type(objective)]
    columns = [loss(world.logits(one), world.classes) for one in torch.eye(len(world.states), dtype=torch.float64)]
    return torch.stack(columns, dim=1)


@pytest.mark.parametrize("objective", [Entropy(), SuperfluousNeurons()], ids=["H", "G"])
@pytest.mark.parametrize("listed", [2, 3, 4])
def test_listed_masks_are_tried_and_no_others(world: Any, listed: int, objective: Any) -> None:
    first = OneShot(objective, centred=True).infer_each(world.superposition, world.inputs).evidence
    got = ListThenTry(objective, listed).infer_each(world.superposition, world.inputs)
    truth = -values(world, objective).float()
    for row in range(len(world.inputs)):
        among = first[row].topk(listed).indices
        expected = torch.full((5,), -torch.inf)
        expected[among] = truth[row, among]
        torch.testing.assert_close(got.evidence[row], expected, rtol=1e-4, atol=1e-5)
        assert got.chosen[row] == expected.argmax()
    assert not got.tied.any()


def test_a_batch_is_listed_and_judged_by_its_mean(world: Any) -> None:
    first = OneShot(centred=True).infer(world.superposition, world.inputs).evidence[0]
    among = first.topk(3).indices
    expected = torch.full((1, 5), -torch.inf)
    expected[0, among] = -values(world, Entropy()).mean(dim=0)[among].float()
    got = ListThenTry(listed=3).infer(world.superposition, world.inputs)
    torch.testing.assert_close(got.evidence, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("objective", [Entropy(), SuperfluousNeurons()], ids=["H", "G"])
def test_few_tasks_are_all_tried_without_a_gradient(
    world: Any, objective: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any) -> None:
        raise AssertionError("a gradient was taken")

    monkeypatch.setattr(OneShot, "infer", refuse)
    monkeypatch.setattr(OneShot, "infer_each", refuse)
    for inference in (ListThenTry(objective, listed=5), ListThenTry(objective)):
        got, expected = (
            kind.infer_each(world.superposition, world.inputs) for kind in (inference, Exhaustive(objective))
        )
        assert torch.equal(got.evidence, expected.evidence)
        assert torch.equal(
            inference.infer(world.superposition, world.inputs).evidence,
            Exhaustive(objective).infer(world.superposition, world.inputs).evidence,
        )
    with pytest.raises(AssertionError, match="a gradient was taken"):
        ListThenTry(objective, listed=4).infer(world.superposition, world.inputs)


def test_a_shortlist_decides_what_is_tried(worlds: Callable[..., Any]) -> None:
    world = worlds("mlp", 12)
    first = OneShot(exact=False, centred=True).infer_each(world.superposition, world.inputs).evidence
    got = ListThenTry(listed=10, exact=False).infer_each(world.superposition, world.inputs)
    assert torch.equal(got.evidence > -torch.inf, first > -torch.inf)  # the 8 tasks of the shortlist
    truth = -values(world, Entropy()).float()
    there = first > -torch.inf
    torch.testing.assert_close(got.evidence[there], truth[there], rtol=1e-4, atol=1e-5)


def test_equal_tasks_at_the_end_of_the_list_are_a_tie(world: Any) -> None:
    twins = Superposition(world.network, [world.states[0], world.states[1], world.states[1], world.states[1]])
    for belief in (
        ListThenTry(listed=2).infer_each(twins, world.inputs),
        ListThenTry(listed=2).infer(twins, world.inputs),
    ):
        assert belief.tied.all()
        assert not (belief.evidence[:, 3] > -torch.inf).any()  # of equals, the tasks learned first are listed


def test_invalid_settings_and_outputs(world: Any) -> None:
    with pytest.raises(ConfigError, match="at least 2 tasks, got 1"):
        ListThenTry(listed=1)
    for listed in (2, 5):
        with pytest.raises(InputError, match="not finite"):
            ListThenTry(listed=listed).infer_each(world.superposition, torch.full_like(world.inputs, torch.inf))
