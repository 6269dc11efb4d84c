"""PSP against its formula, and the rotations of weights."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from plain_network import LAST, RATE, TRUNK, batches, learner_of
from torch import nn
from torch.nn.functional import cross_entropy

from supermasks import BankFolder, Learner, Task
from supermasks.changes import Rotated, Unchanged
from supermasks.changes.rotated import MOST_INPUTS
from supermasks.data import PermutedStream
from supermasks.datasets import load_source
from supermasks.errors import MaskError
from supermasks.methods.psp import PSP
from supermasks.methods.sequential import Sequential
from supermasks.nets import fully_connected
from supermasks.training import Adam, Training

Blobs = Callable[..., Task]


@pytest.mark.parametrize("shape", [(3, 5), (3, 5, 2, 2)])
def test_a_rotation_turns_the_inputs_of_a_layer(shape: tuple[int, ...]) -> None:
    """`(W C) x = W (C x)`, and lengths and angles stay."""
    change, weight, inputs = Rotated(7, shape), torch.randn(shape), torch.randn(4, 5, 6, 6)
    rotation = change.rotation()
    torch.testing.assert_close(rotation @ rotation.T, torch.eye(5), rtol=0, atol=1e-6)
    turned = torch.einsum("ij,njhw->nihw", rotation, inputs)
    if len(shape) == 4:
        found, expected = nn.functional.conv2d(inputs, change.applied(weight)), nn.functional.conv2d(turned, weight)
    else:
        found, expected = inputs[..., 0, 0] @ change.applied(weight).T, turned[..., 0, 0] @ weight.T
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert torch.equal(Rotated(7, shape).applied(weight), change.applied(weight))
    assert not torch.equal(Rotated(8, shape).applied(weight), change.applied(weight))


def test_rotations_are_uniform_among_all() -> None:
    """Their mean is 0, and each entry has the variance `1 / n`, as for the Haar measure."""
    some = torch.stack([Rotated(seed, (1, 4)).rotation() for seed in range(3000)])
    assert float(some.mean(dim=0).abs().max()) < 0.05
    torch.testing.assert_close(some.square().mean(dim=0), torch.full((4, 4), 0.25), rtol=0, atol=0.03)


def test_psp_is_a_plain_loop_behind_rotations(blobs: Blobs) -> None:
    learner = learner_of(PSP(), False)
    weights = [learner.network.weights[name].double() for name in (TRUNK, LAST)]
    for name in "ab":
        task = blobs(name)
        learner.learn(task)
        changes = learner.bank[name].changes
        turns = [changes[layer].rotation().double() for layer in (TRUNK, LAST)]
        for inputs, targets in batches(task):
            leaves = [weight.clone().requires_grad_() for weight in weights]
            hidden = (inputs.double() @ turns[0].T @ leaves[0].T).relu()
            loss = cross_entropy(hidden @ turns[1].T @ leaves[1].T, targets)
            gradients = torch.autograd.grad(loss, leaves)
            weights = [weight - RATE * gradient for weight, gradient in zip(weights, gradients, strict=True)]
        for layer, expected in zip((TRUNK, LAST), weights, strict=True):
            torch.testing.assert_close(learner.network.weights[layer].double(), expected, rtol=0, atol=1e-5)
    assert learner.accuracy(blobs("b").train, "b") > 0.6


def test_it_forgets_less_than_sequential_training() -> None:
    tasks, kept = PermutedStream(load_source("sample"), 4, seed=0), dict[type[Sequential], float]()
    for method in (Sequential(), PSP()):
        training = Training(150, 32, Adam(1e-3))
        learner = Learner(fully_connected([784, 128, 10]), seed=0, method=method, training=training)
        for task in tasks:
            learner.learn(task)
        assert tasks[0].test is not None
        kept[type(method)] = learner.accuracy(tasks[0].test, tasks[0].name)
    assert kept[PSP] > kept[Sequential] + 0.05


def test_a_task_costs_eight_bytes_a_layer(blobs: Blobs, tmp_path: Path) -> None:
    learner = learner_of(PSP(), False)
    for name in "abc":
        learner.learn(blobs(name))
    learner.save(tmp_path / "bank")
    assert BankFolder(tmp_path / "bank").bytes().dense == 3 * 2 * 8


def test_a_new_task_with_the_name_of_a_renamed_one_has_other_rotations(blobs: Blobs) -> None:
    learner = learner_of(PSP(), True)
    learner.learn(blobs("a"))
    learner.rename("a", "old")
    learner.learn(blobs("a"))
    seeds = [change.seed for state in learner.bank for change in state.changes.values() if isinstance(change, Rotated)]
    assert len(seeds) == len(set(seeds)) > 1


def test_parameters_of_one_dimension_stay(blobs: Blobs) -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(8, 6), nn.BatchNorm1d(6), nn.Linear(6, 4))
    learner = Learner(module, method=PSP(), training=Training(5, 16))
    learner.learn(blobs("a"))
    kinds = {name: type(change) for name, change in learner.bank["a"].changes.items()}
    assert kinds == {"1.weight": Rotated, "3.weight": Rotated}
    assert Unchanged not in kinds.values()


@pytest.mark.parametrize(("seed", "shape"), [(-1, (2, 2)), (2**63, (2, 2)), (1, (2,)), (1, (2, MOST_INPUTS + 1))])
def test_what_cannot_be_rotated_is_refused(seed: int, shape: tuple[int, ...]) -> None:
    with pytest.raises(MaskError, match="for a rotation"):
        Rotated(seed, shape)


def test_damaged_seeds_are_refused() -> None:
    for seed in (torch.tensor([1]), torch.tensor(1.0)):
        with pytest.raises(MaskError, match="expected one int64"):
            Rotated.restored({"seed": seed}, (2, 2))
    with pytest.raises(MaskError, match="a head is not shared"):
        Rotated.restored({"seed": torch.tensor(1)}, None)
