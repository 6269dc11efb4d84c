"""EWC, SI and LwF against their formulas, written as plain loops in float64, over three tasks of 20 steps."""

from collections.abc import Callable

import pytest
import torch
from plain_network import LAST, RATE, SEED, TRUNK, Plain, batches, learner_of
from torch import Tensor
from torch.nn.functional import cross_entropy

from supermasks import Examples, Task
from supermasks.errors import ConfigError
from supermasks.methods.ewc import EWC
from supermasks.methods.lwf import LwF
from supermasks.methods.sequential import Sequential
from supermasks.methods.synaptic import IMPORTANCE, SI
from supermasks.seeding import generator
from supermasks.training import Adam, Step, Training

Blobs = Callable[..., Task]
heads = pytest.mark.parametrize("own_heads", [False, True], ids=["shared head", "own heads"])


def tasks_of(blobs: Blobs) -> list[Task]:
    return [blobs("a", 3), blobs("b", 2), blobs("c", 4)]


def far(weights: list[Tensor], before: list[Tensor], importance: list[Tensor]) -> Tensor:
    parts = [(i * (w - b) ** 2).sum() for w, b, i in zip(weights, before, importance, strict=True)]
    return torch.stack(parts).sum()


@heads
def test_si_is_its_formula(own_heads: bool, blobs: Blobs) -> None:
    learner = learner_of(SI(strength=0.7, damping=0.05), own_heads)
    plain = Plain.of(learner)
    importance = [torch.zeros_like(value) for value in plain.shared()]
    for number, task in enumerate(tasks_of(blobs)):
        plain.begin(learner, task)
        learner.learn(task)
        start = [value.detach().clone() for value in plain.shared()]
        gained = [torch.zeros_like(value) for value in start]
        for inputs, targets in batches(task):
            trained = plain.trained(number)
            of_task = torch.autograd.grad(cross_entropy(plain.logits(inputs, number), targets), trained)
            of_penalty = torch.autograd.grad(0.7 * far(plain.shared(), start, importance), plain.shared())
            steps = list(of_task)
            for place, gradient in enumerate(of_penalty):
                steps[place] = steps[place] + gradient
                gained[place] += of_task[place] * RATE * steps[place]
            plain.descend(number, steps)
        for place, value in enumerate(plain.shared()):
            moved = value.detach() - start[place]
            importance[place] = importance[place] + gained[place].clamp(min=0) / (moved**2 + 0.05)
        plain.check(learner)
    for name, expected in zip((TRUNK, LAST), importance, strict=False):
        found = learner.bank.memory[IMPORTANCE + name].double()
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@heads
def test_lwf_is_its_formula(own_heads: bool, blobs: Blobs) -> None:
    learner = learner_of(LwF(strength=0.6, temperature=2.5), own_heads)
    plain = Plain.of(learner)
    for number, task in enumerate(tasks_of(blobs)):
        plain.begin(learner, task)
        learner.learn(task)
        before = plain.frozen()
        of = range(number) if own_heads else range(min(number, 1))

        def loss(
            inputs: Tensor, targets: Tensor, number: int = number, of: range = of, before: Plain = before
        ) -> Tensor:
            total = cross_entropy(plain.logits(inputs, number), targets)
            for task in of:
                powers = before.logits(inputs, task).softmax(dim=1) ** (1 / 2.5)  # as in Equation 3 of the paper
                p = powers / powers.sum(dim=1, keepdim=True)
                powers = plain.logits(inputs, task).softmax(dim=1) ** (1 / 2.5)
                q = powers / powers.sum(dim=1, keepdim=True)
                total = total - 0.6 * (p * q.log()).sum(dim=1).mean()
            return total

        plain.train(task, number, loss)
        plain.check(learner)


@heads
def test_ewc_is_its_formula(own_heads: bool, blobs: Blobs) -> None:
    learner = learner_of(EWC(strength=30.0, decay=0.5, examples=50), own_heads)
    plain = Plain.of(learner)
    importance = [torch.zeros_like(value) for value in plain.shared()]
    for number, task in enumerate(tasks_of(blobs)):
        plain.begin(learner, task)
        learner.learn(task)
        start = [value.detach().clone() for value in plain.shared()]

        for inputs, targets in batches(task):
            loss = cross_entropy(plain.logits(inputs, number), targets)
            loss = loss + 15.0 * 0.5 * far(plain.shared(), start, importance)
            plain.descend(number, torch.autograd.grad(loss, plain.trained(number)))
        plain.check(learner)
        found = [torch.zeros_like(value) for value in importance]
        random = generator(SEED, "fisher", task.name)
        for row in random.permutation(len(task.train))[:50]:
            log_p = plain.logits(task.train.inputs[row : row + 1], number)[0].log_softmax(dim=0)
            drawn = int((log_p.detach().exp().cumsum(0) < random.random()).sum().clamp(max=len(log_p) - 1))
            for total, gradient in zip(found, torch.autograd.grad(log_p[drawn], plain.shared()), strict=True):
                total += gradient**2 / 50
        importance = [0.5 * old + new for old, new in zip(importance, found, strict=True)]


@pytest.mark.parametrize("method", [SI(strength=0.0), LwF(strength=0.0)], ids=repr)
def test_without_strength_it_is_sequential_training(method: Sequential, blobs: Blobs) -> None:
    plain, none = learner_of(Sequential(), True), learner_of(method, True)
    for task in tasks_of(blobs):
        plain.learn(task)
        none.learn(task)
    torch.testing.assert_close(none.network.weights[TRUNK], plain.network.weights[TRUNK], rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "settings"),
    [(SI, {"strength": -1.0}), (SI, {"damping": 0.0}), (LwF, {"strength": -1.0}), (LwF, {"temperature": 0.0})],
    ids=repr,
)
def test_settings_that_make_no_sense_are_refused(kind: type[Sequential], settings: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="takes a strength from 0 up"):
        kind(**settings)


def test_si_measures_the_importance_at_the_best_step(blobs: Blobs) -> None:
    """As if the training had ended there: gains of later steps belong to weights that are thrown away."""
    draw = torch.Generator().manual_seed(0)
    inputs, targets = torch.randn(60, 8, generator=draw), torch.arange(60) % 3
    task = Task("a", (0, 1, 2), Examples(inputs[:40], targets[:40]), validation=Examples(inputs[40:], targets[40:]))
    best, ended = (learner_of(SI(), True) for _ in range(2))
    best.training = Training(40, 8, Adam(1e-2), select_best=True)
    ended.training = Training(40, 8, Adam(1e-2))
    measured = dict[float, int]()

    def note(step: Step) -> None:
        if step.validation is not None:
            measured.setdefault(step.validation, step.step)

    best.learn(task, callbacks=[note])
    last = measured[max(measured)]
    assert last < 40
    ended.learn(task, callbacks=[lambda step: "stop" if step.step == last else None])
    for name, value in best.network.weights.items():
        assert torch.equal(value, ended.network.weights[name])
    for name, value in best.bank.memory.items():
        assert torch.equal(value, ended.bank.memory[name])
