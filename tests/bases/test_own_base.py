"""A base of one's own that gives other values than it must is refused, and the error names its method."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from supermasks import Learner, Network
from supermasks.anatomy import Part
from supermasks.bases import Base, ComputedBase
from supermasks.errors import ConfigError
from supermasks.nets import fully_connected

Values = dict[str, Tensor]

WRONG: dict[str, tuple[Callable[[Values], Values], str]] = {
    "lacking": (lambda found: {"1.weight": found["1.weight"]}, r"float32 of shape \(6, 16\) for '3.weight', got none"),
    "more": (lambda found: {**found, "x": torch.zeros(2)}, r"none for 'x', got torch.float32 of shape \(2,\)"),
    "float64": (
        lambda found: {name: value.double() for name, value in found.items()},
        r"torch.float32 of shape \(16, 8\) for '1.weight', got torch.float64 of shape \(16, 8\)",
    ),
    "one value for all": (  # it could be copied into the weight
        lambda found: {**found, "3.weight": torch.ones(1)},
        r"shape \(6, 16\) for '3.weight', got torch.float32 of shape \(1,\)",
    ),
}

wrong = pytest.mark.parametrize("change", WRONG)


@dataclass(frozen=True)
class OwnWeights(ComputedBase):
    change: str = ""

    def weights(self, shapes: Mapping[str, tuple[int, ...]]) -> Values:
        return WRONG[self.change][0]({name: torch.ones(shape) for name, shape in shapes.items()})


@dataclass(frozen=True)
class OwnValues(Base):
    change: str = ""

    def values(self, parts: Sequence[Part], own: Mapping[str, Tensor]) -> Values:
        del parts
        return WRONG[self.change][0]({name: value.clone() for name, value in own.items()})


@wrong
def test_weights_are_refused(change: str) -> None:
    with pytest.raises(ConfigError, match=r"OwnWeights\.weights must return .* expected .*" + WRONG[change][1]):
        Learner(fully_connected([8, 16, 6]), base=OwnWeights(change=change))


@wrong
def test_values_are_refused(change: str) -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(8, 16, bias=False), nn.ReLU(), nn.Linear(16, 6, bias=False))
    with pytest.raises(ConfigError, match=r"OwnValues\.values must return .* expected .*" + WRONG[change][1]):
        Network(net, OwnValues(change=change))
