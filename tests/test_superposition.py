from collections.abc import Callable
from typing import Any

import pytest
import torch
from states import masked_state

from supermasks import Network
from supermasks.bases import RandomBase
from supermasks.errors import MaskError
from supermasks.masks import Mask
from supermasks.nets import fully_connected
from supermasks.superposition import Superposition


def alphas(count: int) -> list[torch.Tensor]:
    rng = torch.Generator().manual_seed(0)
    some = torch.rand(count, generator=rng)
    some[1] = 0
    return [torch.full((count,), 1 / count), torch.randn(count, generator=rng), some, torch.zeros(count)]


def test_effective_values_are_the_dense_mixture(world: Any) -> None:
    for alpha in alphas(5):
        got, expected = world.superposition.effective(alpha), world.mixed(alpha.double())
        assert set(expected) == {name for name, value in got.items() if value.is_floating_point()}
        assert set(got) == set(world.network.weights) | set(world.states[0].buffers)
        for name, value in expected.items():
            torch.testing.assert_close(got[name].double(), value, rtol=1e-5, atol=1e-6)
            assert got[name].dtype == torch.float32


def test_one_hot_coefficients_give_the_member(world: Any) -> None:
    superposition = world.superposition
    for i, alpha in enumerate(torch.eye(5)):
        member, mixed = superposition.member(i), superposition.effective(alpha)
        assert set(member) == set(mixed)
        for name, weight in world.network.weights.items():
            assert torch.equal(mixed[name], weight * world.states[i].mask[name])
        for name, value in member.items():
            assert torch.equal(mixed[name], value) or name.endswith("num_batches_tracked")


def test_permuting_tasks_permutes_their_coefficients(world: Any) -> None:
    order = [3, 0, 4, 2, 1]
    alpha = alphas(5)[1]
    permuted = Superposition(world.network, [world.states[i] for i in order])
    assert permuted.names == tuple(world.states[i].name for i in order)
    assert permuted.classes == world.superposition.classes == 4
    ours, theirs = world.superposition.effective(alpha), permuted.effective(alpha[order])
    for name, value in ours.items():
        torch.testing.assert_close(theirs[name], value)
    gradients = [(name, torch.randn(2, *ours[name].shape)) for name in world.network.weights]
    torch.testing.assert_close(
        permuted.contract(gradients, 2, range(5)), world.superposition.contract(gradients, 2, range(5))[:, order]
    )


def test_contracting_is_the_gradient_in_the_coefficients(world: Any) -> None:
    rng = torch.Generator().manual_seed(5)
    alpha = alphas(5)[1].double().requires_grad_()
    mixed = world.mixed(alpha)
    gradients = {name: torch.randn(3, *mixed[name].shape, generator=rng) for name in world.network.weights}
    # Losses whose gradients in the effective values are known.
    losses = [sum((each[b].double() * mixed[name]).sum() for name, each in gradients.items()) for b in range(3)]
    expected = torch.stack([torch.autograd.grad(loss, alpha, retain_graph=True)[0] for loss in losses])
    for among in (range(5), [4, 1], [2]):
        got = world.superposition.contract(gradients.items(), 3, among)
        torch.testing.assert_close(got.double(), expected[:, list(among)], rtol=1e-5, atol=1e-5)


def test_member_is_the_derivative_of_the_mixture(world: Any) -> None:
    alpha = alphas(5)[0].double()
    for i in range(5):
        step = torch.zeros(5, dtype=torch.float64)
        step[i] = 1.0
        # The mixture is linear: a difference over 1 is exact.
        further, here = world.mixed(alpha + step), world.mixed(alpha)
        for name, value in world.superposition.member(i).items():
            if value.is_floating_point():
                torch.testing.assert_close(value.double(), further[name] - here[name], rtol=1e-6, atol=1e-6)


def test_a_mixture_can_be_changed_without_changing_the_tasks(world: Any) -> None:
    superposition = world.superposition
    alpha = torch.eye(5)[2]
    before = {name: value.clone() for name, value in superposition.effective(alpha).items()}
    for value in superposition.effective(alpha).values():
        if value.is_floating_point():
            value.zero_()
    for name, value in superposition.effective(alpha).items():
        assert torch.equal(value, before[name])


def test_states_that_do_not_fit_the_network_are_refused(worlds: Callable[..., Any]) -> None:
    mlp, cnn = worlds("mlp"), worlds("cnn")
    with pytest.raises(MaskError, match="'task-0'"):
        Superposition(cnn.network, mlp.states)
    state = cnn.states[0]
    for buffers in ({**state.buffers, "more": torch.zeros(1)}, {**state.buffers, "1.running_mean": torch.zeros(5)}):
        bad = masked_state("bad", (0,), state.input_shape, state.mask, buffers)
        with pytest.raises(MaskError, match="buffers of task 'bad'"):
            Superposition(cnn.network, [state, bad])


def test_the_largest_number_of_classes_counts() -> None:
    network = Network(fully_connected([4, 3]), RandomBase(0))
    mask = Mask.pack({"1.weight": torch.ones(3, 4, dtype=torch.bool)})
    states = [masked_state(str(n), tuple(range(n)), (4,), mask) for n in (2, 3, 1)]
    assert Superposition(network, states).classes == 3
    assert len(Superposition(network, states)) == 3
