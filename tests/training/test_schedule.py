from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import cos, pi

import pytest
import torch
from torch import Tensor

from supermasks import Learner, Task
from supermasks.training import Optimiser, Training


@dataclass(frozen=True)
class Recording(Optimiser):
    """Plain SGD that notes the learning rate of each step; its second group moves at a tenth of the rate."""

    learning_rate: float
    rates: list[float]

    def build(self, parameters: Iterable[Tensor]) -> torch.optim.Optimizer:
        rates = self.rates

        class Noting(torch.optim.SGD):
            def step(self, closure: None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
                first, second = (group["lr"] for group in self.param_groups)
                assert second == pytest.approx(first / 10)
                rates.append(first)
                super().step(closure)

        first, *others = parameters
        return Noting([{"params": [first]}, {"params": others, "lr": self.learning_rate / 10}], lr=self.learning_rate)


@pytest.fixture
def rates(small: Callable[..., Learner], blobs: Callable[..., Task]) -> Callable[..., list[float]]:
    """Train, and return the learning rate of each step."""

    def recorded(steps: int, **settings: object) -> list[float]:
        noted: list[float] = []
        small(training=Training(steps, 4, Recording(0.3, noted), **settings)).learn(blobs("t"))
        return noted

    return recorded


@pytest.mark.parametrize("steps", [1, 2, 7, 60])
def test_the_cosine_schedule_falls_from_the_learning_rate_towards_zero(rates: Callable, steps: int) -> None:
    noted = rates(steps, schedule="cosine")
    assert noted == pytest.approx([0.3 * 0.5 * (1 + cos(pi * step / steps)) for step in range(steps)])
    assert noted[0] == 0.3


def test_the_constant_schedule_stays(rates: Callable) -> None:
    assert rates(5) == [0.3] * 5


def test_a_warm_up_rises_linearly_from_zero(rates: Callable) -> None:
    assert rates(10, warmup=0.4) == pytest.approx([0.075, 0.15, 0.225, 0.3, *[0.3] * 6])


def test_the_cosine_begins_after_the_warm_up(rates: Callable) -> None:
    falling = [0.3 * (1 + cos(pi * t / 6)) / 2 for t in range(6)]
    assert rates(10, warmup=0.4, schedule="cosine") == pytest.approx([0.075, 0.15, 0.225, 0.3, *falling])


@pytest.mark.parametrize("warmup", [0.01, 0.5, 0.99])
@pytest.mark.parametrize("steps", [1, 2, 3, 30])
@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_no_warm_up_makes_a_rate_that_is_zero_or_too_high(
    rates: Callable, warmup: float, steps: int, schedule: str
) -> None:
    noted = rates(steps, warmup=warmup, schedule=schedule)
    assert len(noted) == steps
    assert all(0 < rate <= 0.3 for rate in noted)
