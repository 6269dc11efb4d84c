"""EWC: the importance against the Fisher information of a linear network, the penalty against its formula."""

import copy
from collections.abc import Callable

import pytest
import torch
from states import begun
from torch import nn

from supermasks import Learner, Network, Task
from supermasks.bases import RandomBase
from supermasks.data import PermutedStream
from supermasks.datasets import load_source
from supermasks.errors import ConfigError
from supermasks.methods.ewc import EWC, FISHER
from supermasks.methods.sequential import Sequential
from supermasks.nets import fully_connected
from supermasks.scores import Past
from supermasks.seeding import generator
from supermasks.training import SGD, Adam, Training

Blobs = Callable[..., Task]


def learner_of(method: Sequential, steps: int = 60, rate: float = 0.05) -> Learner:
    network = Network(fully_connected([8, 16, 6]), RandomBase(1))
    return Learner(network, seed=1, method=method, training=Training(steps, 16, SGD(rate, 0.0)))


def test_the_importance_is_the_diagonal_of_the_fisher_information(blobs: Blobs) -> None:
    """For logits `W x` it is `E_x[p_o (1 - p_o) x_i^2]`; drawn labels come close to it with many examples."""
    task, network = blobs("a", 3, (8,), 4000), Network(fully_connected([8, 4]), RandomBase(1))
    session = begun(EWC(examples=4000), network, task)
    found = session.finish().memory[FISHER + "1.weight"].double()
    x = task.train.inputs.double()
    p = (x @ network.weights["1.weight"].double().T).softmax(dim=1)
    expected = torch.einsum("bo,bi->oi", p * (1 - p), x.square()) / len(x)
    assert float((found - expected).norm() / expected.norm()) < 0.08


@pytest.mark.parametrize("batches", [0, 4])
def test_the_importance_is_that_of_the_network_that_answers(blobs: Blobs, batches: int) -> None:
    """Also if its batch-norm statistics are measured after the training. The truth is a plain module."""
    module = nn.Sequential(nn.Linear(8, 16, bias=False), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 5, bias=False))
    training = Training(20, 16, SGD(0.1, 0.0), statistics_batches=batches)
    task, learner = blobs("a"), Learner(module, seed=1, method=EWC(examples=20), training=training)
    learner.learn(task)
    plain = copy.deepcopy(module).eval()
    plain.load_state_dict({**learner.network.weights, **learner.network.weights.buffers}, strict=False)
    random, expected = generator(1, "fisher", "a"), torch.zeros(16, 8)
    for row in random.permutation(len(task.train))[:20]:
        log_p = plain(task.train.batch(torch.tensor([row]))[0])[0].log_softmax(dim=0)
        drawn = int((log_p.detach().exp().cumsum(0) < random.random()).sum())
        expected += torch.autograd.grad(log_p[drawn], plain[0].weight)[0].square() / 20
    torch.testing.assert_close(learner.bank.memory[FISHER + "0.weight"], expected)


@pytest.mark.parametrize("decay", [1.0, 0.5])
def test_the_loss_is_cross_entropy_and_the_penalty(blobs: Blobs, decay: float) -> None:
    """Schwarz et al. weight the penalty by the decayed importance of the earlier tasks."""
    task, network = blobs("b"), Network(fully_connected([8, 6]), RandomBase(1))
    fisher = torch.rand(6, 8)
    session = begun(EWC(strength=3.0, decay=decay), network, task, past=Past(memory={FISHER + "1.weight": fisher}))
    weight = session.parameters["1.weight"]
    with torch.no_grad():
        weight.add_(torch.randn(6, 8))
    inputs, targets = task.train.batch(torch.arange(10))
    loss = session.loss(lambda x: x @ weight.T, inputs, targets, nn.functional.cross_entropy)
    moved = (weight - network.weights["1.weight"]).detach().double()
    expected = nn.functional.cross_entropy(inputs.double() @ weight.detach().double().T, targets)
    expected = expected + 1.5 * decay * (fisher.double() * moved**2).sum()
    assert float(loss.detach()) == pytest.approx(float(expected), rel=1e-5)
    (gradient,) = torch.autograd.grad(loss, weight)
    p = (inputs.double() @ weight.detach().double().T).softmax(dim=1)
    wanted = (p - nn.functional.one_hot(targets, 6)).T @ inputs.double() / 10 + 3.0 * decay * fisher.double() * moved
    torch.testing.assert_close(gradient.double(), wanted, rtol=1e-4, atol=1e-5)


def test_without_a_past_or_a_strength_it_is_sequential_training(blobs: Blobs) -> None:
    plain, none = learner_of(Sequential()), learner_of(EWC(strength=0.0))
    for name in "ab":
        for learner in (plain, none):
            learner.learn(blobs(name))
    assert all(torch.equal(plain.network.weights[name], weight) for name, weight in none.network.weights.items())


def test_importance_decays_from_task_to_task(blobs: Blobs) -> None:
    learner = learner_of(EWC(decay=0.25))
    learner.learn(blobs("a"))
    first = learner.bank.memory[FISHER + "1.weight"]
    session = learner.method.begin(learner._lesson(blobs("b")))
    alone = learner_of(EWC(decay=0.0))
    alone.learn(blobs("a"))
    only = alone.method.begin(alone._lesson(blobs("b"))).finish().memory[FISHER + "1.weight"]
    torch.testing.assert_close(session.finish().memory[FISHER + "1.weight"], 0.25 * first + only)


def test_it_forgets_less_than_sequential_training() -> None:
    tasks = PermutedStream(load_source("sample"), 4, seed=0)
    kept = dict[type[Sequential], float]()
    for method in (Sequential(), EWC(strength=100.0)):
        network = Network(fully_connected([784, 64, 10]), RandomBase(0))
        learner = Learner(network, seed=0, method=method, training=Training(120, 32, Adam(1e-3)))
        for task in tasks:
            learner.learn(task)
        assert tasks[0].test is not None
        kept[type(method)] = learner.accuracy(tasks[0].test, tasks[0].name)
    assert kept[EWC] > kept[Sequential] + 0.03


@pytest.mark.parametrize("settings", [{"strength": -1.0}, {"decay": 1.5}, {"examples": 0}], ids=repr)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="EWC takes a strength"):
        EWC(**settings)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("layer", [nn.BatchNorm1d(6), nn.BatchNorm1d(6, affine=False)], ids=repr)
def test_statistics_of_a_batch_are_refused(layer: nn.Module, blobs: Blobs) -> None:
    """The importance is measured on single examples, and these have no such statistics."""
    module = nn.Sequential(nn.Linear(8, 6, bias=False), layer, nn.Linear(6, 3, bias=False))
    learner = Learner(Network(module, RandomBase(1), norm="batch"), method=EWC(), training=Training(2, 8))
    with pytest.raises(ConfigError, match="one example at a time"):
        learner.learn(blobs("a"))
    other = Learner(Network(module[::2], RandomBase(1), norm="batch"), method=EWC(), training=Training(2, 8))
    other.learn(blobs("a"))  # it has no such layer
