"""Methods and optimisers of users that forget something are refused with a reason, and mostly before the training."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from supermasks import Learner, Network, Task
from supermasks.bases import RandomBase
from supermasks.errors import ConfigError
from supermasks.methods import ExSSNeT, Learned, Lesson, Session, SupSup
from supermasks.methods.supsup import MaskSession
from supermasks.training import Adam, Optimiser, Training

Blobs = Callable[..., Task]


def net() -> Network:
    layers = [nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 3)]
    return Network(nn.Sequential(*layers), RandomBase(0), head="5")


def forgetful(begin: Callable[[SupSup, Lesson], Any], **more: Any) -> SupSup:
    """Return a method with such a `begin`."""
    kind = dataclass(frozen=True)(type("Own", (SupSup,), {"begin": begin, "__module__": __name__, **more}))
    return kind()


def session_with(**methods: Any) -> Callable[[SupSup, Lesson], Session]:
    """Return a `begin` whose sessions have such methods."""
    kind = type("OwnSession", (MaskSession,), {"stacks": True, "__module__": __name__, **methods})
    return lambda method, lesson: kind(method, lesson)


def effective_without(name: str) -> Callable[[SupSup, Lesson], Session]:
    def effective(self: MaskSession) -> dict[str, Tensor]:
        return {key: value for key, value in MaskSession.effective(self).items() if key != name}

    return session_with(effective=effective)


def finish_without(name: str) -> Callable[[SupSup, Lesson], Session]:
    def finish(self: MaskSession) -> Learned:
        changes = MaskSession.finish(self).changes
        return Learned({key: value for key, value in changes.items() if key != name})

    return session_with(finish=finish)


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize(
    ("begin", "message"),
    [
        (lambda method, lesson: None, r"what begin\(\) of Own returns must be a Session, got None"),
        (session_with(finish=lambda self: None), r"what finish\(\) of OwnSession returns must be a Learned, got None"),
        (effective_without("5.bias"), r"effective\(\) of OwnSession must return a value .* none for '5.bias'"),
        (effective_without("1.running_var"), r"effective\(\) of OwnSession .* none for '1.running_var'"),
        (finish_without("3.weight"), r"finish\(\) of OwnSession must return a change .* none for '3.weight'"),
        (finish_without("5.weight"), r"finish\(\) of OwnSession must return a change .* none for '5.weight'"),
    ],
)
def test_a_session_that_forgets_something(
    begin: Callable[[SupSup, Lesson], Any], message: str, together: bool, blobs: Blobs
) -> None:
    learner = Learner(net(), method=forgetful(begin), training=Training(3, 4, Adam()))
    with pytest.raises(ConfigError, match=message):
        _ = learner.learn_together([blobs("t")]) if together else learner.learn(blobs("t"))
    assert learner.tasks == []


def test_a_stage_that_is_no_session(blobs: Blobs) -> None:
    method = forgetful(session_with(next=lambda self: "the end"), stages=property(lambda self: (0.5, 0.5)))
    learner = Learner(net(), method=method, training=Training(4, 4, Adam()))
    with pytest.raises(ConfigError, match=r"what next\(\) of OwnSession returns must be a Session, got 'the end'"):
        learner.learn(blobs("t"))


@dataclass(frozen=True)
class Broken(Optimiser):
    """Forgets to return what it has built."""

    learning_rate: float = 0.1

    def build(self, parameters: Any) -> Any:
        torch.optim.SGD(parameters, lr=self.learning_rate)


@dataclass(frozen=True)
class Searching(Optimiser):
    """Computes the loss again and again."""

    learning_rate: float = 0.1

    def build(self, parameters: Any) -> torch.optim.Optimizer:
        return torch.optim.LBFGS(parameters, lr=self.learning_rate)


class Loose(torch.optim.SGD):
    """Takes anything for a step."""

    def step(self, *args: Any, **keywords: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        return super().step(*args, **keywords)


@dataclass(frozen=True)
class Fine(Optimiser):
    """Needs no more than gradients."""

    learning_rate: float = 0.1

    def build(self, parameters: Any) -> torch.optim.Optimizer:
        return Loose(parameters, lr=self.learning_rate)


@pytest.mark.parametrize(
    ("optimiser", "message"),
    [
        (Broken(), r"what build\(\) of Broken returns must be an Optimizer, got None"),
        (Searching(), r"build\(\) of Searching must return .* got a LBFGS, which computes the loss anew"),
    ],
)
def test_an_optimiser_that_cannot_be_used(optimiser: Optimiser, message: str, blobs: Blobs) -> None:
    module, task = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3)), blobs("t")
    for training in (Training(4, 4, optimiser), Training(4, 4, Adam(), weight_optimiser=optimiser)):
        method = ExSSNeT(together=True) if training.weight_optimiser else SupSup()
        with pytest.raises(ConfigError, match=message):
            Learner(module, method=method, training=training).learn(task)
    assert Learner(module, training=Training(4, 4, Fine())).learn(task).steps == 4


def test_an_optimiser_needs_a_learning_rate() -> None:
    @dataclass(frozen=True)
    class Without(Optimiser):
        beta: float = 0.9

        def build(self, parameters: Any) -> torch.optim.Optimizer:
            return torch.optim.SGD(parameters, lr=1e-2)

    with pytest.raises(ConfigError, match=r"Without must have the field learning_rate, .* add a line to the class"):
        Without()
