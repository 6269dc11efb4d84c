"""PackNet and WSN against plain loops in float64, and that no later task changes a bit."""

from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch
from plain_network import LAST, RATE, STEPS, TRUNK, batches, learner_of
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from supermasks import BankFolder, Learner, Network, Task
from supermasks.bases import RandomBase
from supermasks.errors import ConfigError
from supermasks.masks import TopK
from supermasks.methods import Method
from supermasks.methods.packnet import PackNet
from supermasks.methods.wsn import WSN
from supermasks.nets import fully_connected
from supermasks.training import SGD, Adam, AdamW, Training

Blobs = Callable[..., Task]
NAMES = (TRUNK, LAST)
Values = dict[str, Tensor]


def answer(values: Values, inputs: Tensor) -> Tensor:
    return (inputs.double() @ values[TRUNK].T).relu() @ values[LAST].T


@pytest.mark.parametrize("optimiser", [SGD(0.05, 0.9, 0.1), Adam(1e-2, 0.1), AdamW(1e-2, 0.1)], ids=repr)
@pytest.mark.parametrize("head", [None, "8"])
@pytest.mark.parametrize("method", [PackNet(), WSN()], ids=repr)
def test_no_later_task_changes_a_bit(
    method: Method, head: str | None, optimiser: object, blobs: Blobs, cnn: Callable
) -> None:
    """With momentum and weight decay, on a network with batch norm, after every task."""
    network = Network(cnn(8), RandomBase(0), head=head)
    learner = Learner(network, method=method, training=Training(40, 16, optimiser))  # pyright: ignore[reportArgumentType]
    tasks, seen = [blobs(f"task-{n}", 3, (1, 6, 6)) for n in range(4)], dict[str, Tensor]()
    for task in tasks:
        learner.learn(task)
        seen[task.name] = network.on(learner.network.weights).logits(task.train.inputs, learner.bank[task.name])
        for earlier in tasks[: len(seen)]:
            found = learner.network.logits(earlier.train.inputs, learner.bank[earlier.name])
            assert torch.equal(found, seen[earlier.name])
    trained = [state.owned.mask.count() for state in learner.bank if state.owned is not None]
    assert len(trained) >= 3


def test_packnet_is_a_plain_loop_over_free_weights(blobs: Blobs) -> None:
    """Train the free ones, keep the largest quarter of them in each layer, train these; earlier ones stay."""
    learner = learner_of(PackNet(keep=0.25, train_share=0.5), False)
    base = {name: learner.network.weights[name].double() for name in NAMES}
    values, used = dict(base), {name: torch.zeros_like(base[name]).bool() for name in NAMES}
    for task in (blobs("a"), blobs("b", 2), blobs("c", 4)):
        learner.learn(task)
        mine, kept = dict(values), {name: ~used[name] for name in NAMES}
        examples = batches(task)
        for stage in range(2):
            mask = {name: used[name] | kept[name] for name in NAMES}
            for inputs, targets in islice(examples, STEPS // 2):
                leaves = {name: value.clone().requires_grad_() for name, value in mine.items()}
                logits = answer({name: leaves[name] * mask[name] for name in NAMES}, inputs)
                gradients = torch.autograd.grad(cross_entropy(logits, targets), list(leaves.values()))
                for name, gradient in zip(NAMES, gradients, strict=True):
                    mine[name] = mine[name] - RATE * gradient * kept[name]
            if stage == 0:
                for name in NAMES:
                    sizes = mine[name].abs()[kept[name]].sort(descending=True).values
                    limit = sizes[-(-len(sizes) // 4) - 1]
                    kept[name] = kept[name] & (mine[name].abs() >= limit)
        for name in NAMES:
            values[name] = torch.where(kept[name], mine[name], values[name])
            used[name] = used[name] | kept[name]
            torch.testing.assert_close(learner.network.weights[name].double(), values[name], rtol=0, atol=1e-5)
            assert torch.equal(learner.bank[task.name].mask[name], used[name])


def test_wsn_is_a_plain_loop_over_scores_and_free_weights(blobs: Blobs) -> None:
    learner = learner_of(WSN(TopK(0.4)), False)
    base = {name: learner.network.weights[name].double() for name in NAMES}
    values, used = dict(base), {name: torch.zeros_like(base[name]).bool() for name in NAMES}
    first = learner.method.begin(learner._lesson(blobs("a"))).parameters
    scores = {name: first[name].detach().double() for name in NAMES}
    for task in (blobs("a"), blobs("b", 2), blobs("c", 4)):
        learner.learn(task)
        mine = dict(values)
        for inputs, targets in batches(task):
            mask = {name: kept(scores[name]) for name in NAMES}
            product = {name: (mine[name] * mask[name]).requires_grad_() for name in NAMES}
            loss = cross_entropy(answer(product, inputs), targets)
            for name, g in zip(NAMES, torch.autograd.grad(loss, list(product.values())), strict=True):
                step = g * mine[name] * torch.where(scores[name] < 0, -1.0, 1.0)
                mine[name] = mine[name] - RATE * g * mask[name] * ~used[name]
                scores[name] = scores[name] - RATE * step
        for name in NAMES:
            mask = kept(scores[name]).bool()
            values[name] = torch.where(mask & ~used[name], mine[name], values[name])
            used[name] = used[name] | mask
            assert torch.equal(learner.bank[task.name].mask[name], mask)
            torch.testing.assert_close(learner.network.weights[name].double(), values[name], rtol=0, atol=1e-5)


def kept(scores: Tensor) -> Tensor:
    count = round(0.4 * scores.numel())
    return (scores.abs() >= scores.abs().flatten().topk(count).values[-1]).double()


def test_packed_tasks_take_the_bytes_of_their_own_weights(blobs: Blobs, tmp_path: Path) -> None:
    learner = learner_of(PackNet(keep=0.5), False)
    for name in "abc":
        learner.learn(blobs(name))
    counts = [state.owned.mask.count() for state in learner.bank if state.owned is not None]
    weights = sum(weight.numel() for weight in learner.network.weights.values())
    assert counts == [weights // 2, weights // 4, weights // 8]
    learner.save(tmp_path / "bank")
    taken = BankFolder(tmp_path / "bank").bytes()
    assert taken.owned >= 4 * sum(counts)
    assert taken.weights == taken.dense == 0


def test_a_training_that_ends_before_the_pruning_is_pruned(blobs: Blobs) -> None:
    learner = learner_of(PackNet(keep=0.25), False)
    learner.learn(blobs("a"), callbacks=[lambda step: "stop" if step.step == 3 else None])
    state = learner.bank["a"]
    assert state.owned is not None
    assert state.mask.count() == state.owned.mask.count() == 32 + 24
    learner.learn(blobs("b"))


def test_without_free_weights_only_a_head_can_be_trained(blobs: Blobs) -> None:
    without, with_head = (
        Learner(
            Network(fully_connected([8, 16, 6]), RandomBase(1), head=head),
            method=PackNet(keep=1.0),
            training=Training(20, 16, Adam(1e-2)),
        )
        for head in (None, "3")
    )
    without.learn(blobs("a"))
    with pytest.raises(ConfigError, match="no weight is left for task 'b'"):
        without.learn(blobs("b"))
    with_head.learn(blobs("a"))
    before = with_head.network.weights.digest
    with_head.learn(blobs("b"))
    assert with_head.network.weights.digest == before


@pytest.mark.parametrize("settings", [{"keep": 0.0}, {"keep": 1.5}, {"train_share": 1.0}], ids=repr)
def test_shares_out_of_range_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="PackNet takes a keep"):
        PackNet(**settings)  # pyright: ignore[reportArgumentType]


def test_other_settings_are_refused(blobs: Blobs) -> None:
    with pytest.raises(ConfigError, match="precision"):
        PackNet(precision="int2")  # pyright: ignore[reportArgumentType]
    for settings in ({"together": False}, {"exclusive": False}):
        with pytest.raises(ConfigError, match="WSN trains mask and weights together"):
            replace(WSN(), **settings)


def test_the_network_is_not_changed_by_batch_norm(blobs: Blobs, cnn: Callable[..., nn.Module]) -> None:
    """Statistics belong to the task, also those of the second stage."""
    learner = Learner(Network(cnn(8), RandomBase(0)), method=PackNet(), training=Training(40, 16, Adam(1e-2)))
    learner.learn(blobs("a", 3, (1, 6, 6)))
    counted = next(name for name in learner.bank["a"].buffers if name.endswith("num_batches_tracked"))
    assert int(learner.bank["a"].buffers[counted]) == 40
