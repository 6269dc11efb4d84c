"""Heads may learn faster than all else, and first: compared with a plain loop of torch."""

from collections.abc import Callable

import pytest
import torch
from states import dense
from torch import nn
from torch.nn import functional

from supermasks import Learner, Network, Task
from supermasks.bases import PretrainedBase
from supermasks.errors import ConfigError
from supermasks.masks import TopK
from supermasks.methods import ExSSNeT, Individual, SupSup
from supermasks.training import SGD, Adam, Training
from supermasks.training.order import Order

Blobs = Callable[..., Task]


@pytest.mark.parametrize(("rate", "first"), [(1.0, 0.0), (5.0, 0.0), (1.0, 0.5), (5.0, 0.3)])
@pytest.mark.parametrize("optimiser", [SGD(0.02, 0.9), Adam(1e-2)], ids=repr)
@pytest.mark.parametrize("norm", [None, 0.2])
def test_the_head_has_its_own_rate_and_is_trained_first(
    blobs: Blobs, rate: float, first: float, optimiser: SGD | Adam, norm: float | None
) -> None:
    """What waits has no gradient: it neither counts in the norm, nor gathers momentum."""
    torch.manual_seed(0)
    module, task = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3)), blobs("t", 3)
    settings = Training(20, 16, optimiser, "cosine", warmup=0.1, head_rate=rate, head_first=first, clip_norm=norm)
    network = Network(module, PretrainedBase("p"), head="2")
    learner = Learner(network, method=Individual(), training=settings)
    learner.learn(task)

    once = Learner(
        Network(module, PretrainedBase("p"), head="2"), method=Individual(), training=Training(1, 1, SGD(1e-30))
    )
    once.learn(task)
    start = {name: value.clone() for name, value in dense(once.bank["t"]).items()}  # the head before training
    slow = module[0].weight.detach().clone().requires_grad_()
    weight, bias = start["2.weight"].requires_grad_(), start["2.bias"].requires_grad_()
    groups = [{"params": [slow]}, {"params": [weight, bias]}]
    plain = (
        torch.optim.SGD(groups, lr=0.02, momentum=0.9)
        if isinstance(optimiser, SGD)
        else torch.optim.Adam(groups, lr=1e-2)
    )
    order = Order.of("t", len(task.train), 16, seed=0)
    for step in range(1, 21):
        factor = step / 2 if step <= 2 else (1 + torch.cos(torch.tensor(torch.pi * (step - 3) / 18)).item()) / 2
        plain.param_groups[0]["lr"] = 0.0 if step <= first * 20 else optimiser.learning_rate * factor
        plain.param_groups[1]["lr"] = optimiser.learning_rate * rate * factor
        x, y = task.train.batch(order.next())
        hidden = functional.linear(x, slow, module[0].bias.detach()).relu()
        loss = functional.cross_entropy(functional.linear(hidden, weight, bias), y)
        plain.zero_grad()
        loss.backward()
        if step <= first * 20:
            slow.grad = None
        if norm is not None:
            torch.nn.utils.clip_grad_norm_([slow, weight, bias], norm)
        plain.step()
    learned = dense(learner.bank["t"])
    for name, value in {"0.weight": slow, "2.weight": weight, "2.bias": bias}.items():
        torch.testing.assert_close(learned[name], value.detach(), rtol=1e-3, atol=1e-5)


def test_nothing_else_moves_while_the_head_is_trained_first() -> None:
    settings = Training(100, head_first=0.25, head_rate=10, optimiser=SGD(1.0), weight_optimiser=Adam(3.0))
    names = ("trunk", "bias", "head")
    values = {name: torch.zeros(1, requires_grad=True) for name in names}

    def rates(step: int, heads: list[str], weights: list[str]) -> dict[str, float]:
        optimiser = settings.build_optimiser(values, heads, weights)
        largest = [group["lr"] for group in optimiser.param_groups]
        settings.set_rates(optimiser, largest, step, 100)
        return {n: g["lr"] for n in names for g in optimiser.param_groups if any(v is values[n] for v in g["params"])}

    assert rates(25, ["head"], []) == {"trunk": 0.0, "bias": 0.0, "head": 10.0}
    assert rates(26, ["head"], []) == {"trunk": 1.0, "bias": 1.0, "head": 10.0}
    assert rates(25, ["head"], ["bias"]) == {"trunk": 0.0, "bias": 0.0, "head": 10.0}
    assert rates(26, ["head"], ["bias"]) == {"trunk": 1.0, "bias": 3.0, "head": 10.0}
    # Where there is nothing but a head, nothing waits.
    assert rates(1, list(names), []) == dict.fromkeys(names, 1.0)


@pytest.mark.parametrize(
    "settings", [{"head_rate": 0.0}, {"head_rate": -1.0}, {"head_first": 1.0}, {"head_first": -0.1}]
)
def test_settings_of_heads_that_cannot_work_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=r"head_(rate|first) must be"):
        Training(10, **settings)


def test_only_the_first_stage_of_a_method_waits_for_the_head(blobs: Blobs) -> None:
    """ExSSNeT trains a mask, then weights. By then the head is trained, so the weights do not wait."""
    module, rates = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3)), list[float]()
    settings = Training(8, 16, SGD(0.1), head_first=0.5, head_rate=0.01)
    learner = Learner(Network(module, PretrainedBase("p"), head="2"), method=ExSSNeT(TopK(0.5)), training=settings)
    # The largest rate is that of the head while all else waits.
    learner.learn(blobs("t", 3), callbacks=[lambda step: rates.append(step.learning_rate)])
    assert rates == pytest.approx([0.001] * 2 + [0.1] * 6)


@pytest.mark.parametrize("optimiser", [SGD(0.05, 0.9), Adam(1e-2)], ids=repr)
def test_tasks_that_are_trained_together_wait_alike(optimiser: SGD | Adam, blobs: Blobs) -> None:
    settings, learners = Training(20, 16, optimiser, head_first=0.5, clip_norm=0.05), list[Learner]()
    for _ in range(2):
        torch.manual_seed(0)
        module = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))
        learners.append(Learner(Network(module, PretrainedBase("p"), head="2"), method=SupSup(), training=settings))
    one, together = learners
    tasks = [blobs("a"), blobs("b")]
    for task in tasks:
        one.learn(task)
    together.learn_together(tasks)
    for task in tasks:
        ours, theirs = (dense(learner.bank[task.name]) for learner in learners)
        for name, value in ours.items():
            torch.testing.assert_close(theirs[name], value, rtol=0, atol=1e-5)


@pytest.mark.parametrize("settings", [{"head_first": 0.5}, {"head_rate": 50.0}])
def test_settings_of_heads_without_a_head_are_refused(settings: dict[str, float], blobs: Blobs) -> None:
    learner = Learner(nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3)), training=Training(10, **settings))
    for learn in (lambda: learner.learn(blobs("t")), lambda: learner.learn_together([blobs("t")])):
        with pytest.raises(ConfigError, match=r"are for a network whose tasks have their own heads, got one without"):
            learn()
