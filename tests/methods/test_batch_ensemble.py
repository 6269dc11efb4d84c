"""BatchEnsemble against its formula, layer by layer, and against what it says it costs."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from states import begun
from torch import nn

from supermasks import BankFolder, Learner, Network, Task
from supermasks.bases import RandomBase
from supermasks.methods.batch_ensemble import BatchEnsemble
from supermasks.nets import fully_connected
from supermasks.training import SGD, Adam, Training

Blobs = Callable[..., Task]


def learner_of(method: BatchEnsemble, module: nn.Module | None = None) -> Learner:
    network = Network(module or fully_connected([8, 16, 6]), RandomBase(1))
    return Learner(network, seed=1, method=method, training=Training(60, 16, Adam(1e-2)))


@pytest.mark.parametrize("first_trains", [True, False])
def test_outputs_are_those_of_scaled_inputs_and_outputs(first_trains: bool, blobs: Blobs) -> None:
    """The paper's form: a layer computes `((x * r) W^T) * s`, and never forms `W * (s r^T)`."""
    learner = learner_of(BatchEnsemble(first_trains))
    for name in "ab":
        learner.learn(blobs(name))
    inputs, weights = torch.randn(7, 8).double(), learner.network.weights
    for name in "ab":
        changes = learner.bank[name].changes
        hidden = inputs
        for layer in ("1.weight", "3.weight"):
            r, s = changes[layer].inputs.double(), changes[layer].outputs.double()
            hidden = ((hidden * r) @ weights[layer].double().T) * s
            hidden = hidden.relu() if layer == "1.weight" else hidden
        found = learner.network.logits(inputs.float(), learner.bank[name])
        torch.testing.assert_close(found.double(), hidden, rtol=1e-4, atol=1e-5)


def test_only_the_first_task_trains_the_shared_weights(blobs: Blobs) -> None:
    learner = learner_of(BatchEnsemble())
    base = dict(learner.network.weights)
    learner.learn(blobs("a"))
    first = dict(learner.network.weights)
    assert all(not torch.equal(first[name], base[name]) for name in base)
    learner.learn(blobs("b"))
    assert all(torch.equal(learner.network.weights[name], first[name]) for name in base)
    assert (bool(learner.bank["a"].replaced), bool(learner.bank["b"].replaced)) == (True, False)
    random = learner_of(BatchEnsemble(first_trains=False))
    random.learn(blobs("a"))
    assert all(torch.equal(random.network.weights[name], base[name]) for name in base)
    assert not random.bank.shares("weights")


def test_the_gradients_of_one_step_are_those_of_the_formula(blobs: Blobs) -> None:
    """One step of SGD of a linear network: with G = dL/dE, dL/ds = sum_i (G * W)_oi r_i, and dL/dr likewise."""
    task, network = blobs("a"), Network(fully_connected([8, 6]), RandomBase(1))
    learner = Learner(network, seed=1, method=BatchEnsemble(False), training=Training(1, 60, SGD(0.5, 0.0)))
    learner.learn(task)
    x, y = task.train.inputs.double(), nn.functional.one_hot(task.train.targets, 6).double()
    weight = network.weights["1.weight"].double()
    scaled = ((x @ weight.T).softmax(dim=1) - y).T @ x / len(x) * weight
    change = learner.bank["a"].changes["1.weight"]
    torch.testing.assert_close(change.outputs.double(), 1 - 0.5 * scaled.sum(dim=1), rtol=0, atol=1e-5)
    torch.testing.assert_close(change.inputs.double(), 1 - 0.5 * scaled.sum(dim=0), rtol=0, atol=1e-5)


def test_a_task_costs_the_bytes_of_its_vectors(blobs: Blobs, cnn: Callable[..., nn.Module], tmp_path: Path) -> None:
    module = cnn(6)
    learner = learner_of(BatchEnsemble(), module)
    for name in "abc":
        learner.learn(blobs(name, 3, (1, 6, 6)))
    vectors = sum(4 * (shape[0] + shape[1]) for shape in learner.network.shapes.values())
    learner.save(tmp_path / "bank")
    taken = BankFolder(tmp_path / "bank").bytes()
    assert (taken.masks, taken.dense) == (0, 3 * vectors)
    # The shared weights are stored once, with the header of their file.
    weights = 4 * sum(weight.numel() for weight in learner.network.weights.values())
    assert weights <= taken.weights < weights + 1000
    assert vectors < weights / 2


def test_a_task_is_found_from_its_inputs(blobs: Blobs) -> None:
    """The gradient in alpha through rank-one changes, against finite differences of the objective."""
    learner = learner_of(BatchEnsemble(False))
    for name in "abc":
        learner.learn(blobs(name))
    inputs = blobs("b").train.inputs[:1]
    belief = learner.infer(inputs)
    states, network = [learner.bank[name] for name in "abc"], learner.network

    def entropy(alpha: list[float]) -> float:
        members = [network.effective(state) for state in states]
        mixed = {
            name: sum(a * m[name].double() for a, m in zip(alpha, members, strict=True)) for name in network.weights
        }
        logits = (inputs.double() @ mixed["1.weight"].T).relu() @ mixed["3.weight"].T
        p = logits.softmax(dim=1)
        return float(-(p * p.log()).sum())

    for n in range(3):
        up, down = [1 / 3] * 3, [1 / 3] * 3
        up[n], down[n] = up[n] + 1e-4, down[n] - 1e-4
        slope = (entropy(up) - entropy(down)) / 2e-4
        assert float(belief.evidence[0, n]) == pytest.approx(-slope, rel=1e-3, abs=1e-4)


def test_many_are_learned_together_as_each_alone(blobs: Blobs) -> None:
    together, alone = learner_of(BatchEnsemble(False)), learner_of(BatchEnsemble(False))
    together.learn_together([blobs(name) for name in "ab"])
    for name in "ab":
        alone.learn(blobs(name))
        ours, theirs = (each.bank[name].changes["1.weight"] for each in (together, alone))
        torch.testing.assert_close(ours.outputs, theirs.outputs, rtol=0, atol=1e-4)


def test_it_begins_as_the_network_itself(blobs: Blobs) -> None:
    network = Network(fully_connected([8, 16, 6]), RandomBase(1))
    effective = begun(BatchEnsemble(False), network, blobs("a")).effective()
    assert all(torch.equal(effective[name], weight) for name, weight in network.weights.items())


def test_the_first_task_trains_all_at_the_rate_of_the_weights(blobs: Blobs) -> None:
    """One step of gradient descent moves vectors by rate times gradient, and later tasks have the other rate."""
    moved = dict[tuple[str, float], torch.Tensor]()
    for rate in (0.001, 0.002):
        learner = learner_of(BatchEnsemble())
        learner.training = Training(1, 16, SGD(0.05, 0.0), weight_optimiser=SGD(rate, 0.0))
        for name in "ab":
            learner.learn(blobs(name))
            moved[name, rate] = learner.bank[name].changes["1.weight"].outputs - 1
    torch.testing.assert_close(moved["a", 0.002], 2 * moved["a", 0.001], rtol=1e-3, atol=1e-6)
    assert float(moved["b", 0.001].abs().max()) > 5 * float(moved["a", 0.001].abs().max())
