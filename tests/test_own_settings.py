"""Settings of a user's own classes: they are read back as they were saved, or refused before anything is learned."""

from collections.abc import Callable, Mapping
from dataclasses import InitVar, dataclass, field
from enum import Enum
from functools import cached_property
from math import isnan, nan
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from supermasks import Learner, Network
from supermasks.bases import ComputedBase, RandomBase
from supermasks.errors import ConfigError
from supermasks.inference import OneShot
from supermasks.methods import SupSup
from supermasks.seeding import generator
from supermasks.spec import Settings, build, check_restorable, describe
from supermasks.training import Training


@dataclass(frozen=True)
class OwnRate(SupSup):
    rate: float = 0.5
    twice: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "twice", 2 * self.rate)
        object.__setattr__(self, "_table", torch.full((2,), self.rate))

    @cached_property
    def thrice(self) -> float:
        return 3 * self.rate


class OwnWithoutDecorator(OwnRate):
    """Only methods differ."""


@dataclass(frozen=True)
class OwnAny(SupSup):
    value: Any = None


@dataclass(frozen=True)
class OwnLists(SupSup):
    rates: list[float] = field(default_factory=list)
    words: list = field(default_factory=list)  # pyright: ignore[reportMissingTypeArgument, reportUnknownVariableType]


class OwnInit(SupSup):
    def __init__(self, rate: float = 0.5, **others: Any) -> None:
        super().__init__(**others)
        object.__setattr__(self, "rate", rate)


@dataclass(frozen=True)
class OwnVar(SupSup):
    rate: InitVar[float] = 0.5

    def __post_init__(self, rate: float) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        super().__post_init__()
        object.__setattr__(self, "_rate", rate)


@dataclass(frozen=True)
class OwnNeeded(SupSup):
    rate: InitVar[float | None] = None

    def __post_init__(self, rate: float | None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        if rate is None:
            raise ValueError("a rate is needed")


class Colour(str, Enum):
    RED = "red"


@dataclass(frozen=True)
class NoSettings:
    rate: float = 0.5


GOOD: list[Callable[[], SupSup]] = [
    OwnRate,
    lambda: OwnRate(rate=0.9),
    lambda: OwnWithoutDecorator(rate=0.9),
    lambda: OwnAny(value=(1, {"a": (True, None)}, OwnRate(rate=0.9))),
    lambda: OwnAny(value=np.float64(0.25)),
    lambda: OwnLists(rates=[0.5, 0.25], words=["a", (1, 2)]),
    OwnInit,
    OwnVar,
]


@pytest.mark.parametrize("make", GOOD)
def test_settings_that_come_back_are_accepted(make: Callable[[], SupSup]) -> None:
    value = make()
    _ = getattr(value, "thrice", None)  # what is computed later need not be there
    check_restorable(value)
    back = build(describe(value), SupSup)
    assert back == value
    assert type(back) is type(value)
    assert {name: back.__dict__[name] for name in ("rate", "twice") if name in back.__dict__} == {
        name: value.__dict__[name] for name in ("rate", "twice") if name in value.__dict__
    }


def test_numbers_that_are_not_numbers_come_back() -> None:
    check_restorable(OwnAny(value=nan))
    assert isnan(build(describe(OwnAny(value=nan)), OwnAny).value)


BAD: dict[str, tuple[Callable[[], SupSup], str]] = {
    "own init": (lambda: OwnInit(0.9), r"rate of OwnInit is read back as 0.5, not 0.9.*make rate a field"),
    "init var": (lambda: OwnVar(rate=0.9), r"_rate of OwnVar is read back as 0.5, not 0.9"),
    "needed": (lambda: OwnNeeded(rate=0.9), r"OwnNeeded cannot be read back: ValueError: a rate is needed"),
    "enum": (lambda: OwnAny(value=Colour.RED), "is read back as 'red'; use a string or a number"),
    "list": (lambda: OwnAny(value=[1, 2]), r"a list in settings is read as a tuple; write \(1, 2\)"),
    "inside": (lambda: OwnAny(value=({"a": [1]},)), "a list in settings"),
    "nested": (lambda: OwnAny(value=OwnInit(0.9)), "rate of OwnInit"),
    "no settings": (lambda: OwnAny(value=NoSettings()), "NoSettings cannot be read back; make it a subclass of"),
    "tensor": (lambda: OwnAny(value=torch.ones(2)), "cannot store a Tensor"),
}


@pytest.mark.parametrize("case", BAD)
def test_settings_that_would_come_back_as_others_are_refused(case: str) -> None:
    make, message = BAD[case]
    with pytest.raises(ConfigError, match=message):
        check_restorable(make())
    with pytest.raises(ConfigError, match=message):
        Learner(nn.Linear(4, 3), seed=0, method=make())
    learner = Learner(nn.Linear(4, 3), seed=0)
    before = learner.method
    with pytest.raises(ConfigError, match=message):
        learner.method = make()
    assert learner.method is before


@dataclass(frozen=True)
class OwnShot(OneShot):
    value: Any = None


@dataclass(frozen=True)
class OwnTraining(Training):
    value: Any = None


def test_each_part_of_a_learner_is_checked_when_it_is_set() -> None:
    learner = Learner(nn.Linear(4, 3), seed=0, inference=OwnShot(value=1), training=OwnTraining(value=1))
    with pytest.raises(ConfigError, match="a list in settings"):
        learner.inference = OwnShot(value=[1])
    with pytest.raises(ConfigError, match="a list in settings"):
        learner.training = OwnTraining(value=[1])
    with pytest.raises(ConfigError, match="a list in settings"):
        Learner(nn.Linear(4, 3), seed=0, inference=OwnShot(value=[1]))
    with pytest.raises(ConfigError, match="a list in settings"):
        Learner(nn.Linear(4, 3), seed=0, base=Drawn(0, value=[1]))
    with pytest.raises(ConfigError, match="a list in settings"):
        Learner(Network(nn.Linear(4, 3), Drawn(0, value=[1])), seed=0)
    assert (learner.inference, learner.training) == (OwnShot(value=1), OwnTraining(value=1))


def test_a_computed_field_is_saved_and_loaded(tmp_path: Path) -> None:
    learner = Learner(nn.Linear(4, 3), seed=0, method=OwnRate(rate=0.9))
    learner.save(tmp_path / "bank")
    loaded = Learner.load(tmp_path / "bank", nn.Linear(4, 3)).method
    assert isinstance(loaded, OwnRate)
    assert (loaded.rate, loaded.twice) == (0.9, 1.8)


@dataclass(frozen=True)
class Drawn(ComputedBase):
    seed: int
    value: Any = None

    def weights(self, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
        return {
            name: torch.from_numpy(generator(self.seed, "own", name).standard_normal(shape, dtype=np.float32))
            for name, shape in shapes.items()
        }


@dataclass(frozen=True)
class Unseeded(ComputedBase):
    def weights(self, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
        return {name: torch.randn(shape) for name, shape in shapes.items()}


def test_a_base_of_other_values_on_each_call_is_refused() -> None:
    message = "Unseeded must give the same values on every call.*supermasks.seeding.generator"
    with pytest.raises(ConfigError, match=message):
        Learner(nn.Linear(4, 3), base=Unseeded())
    with pytest.raises(ConfigError, match=message):
        Network(nn.Linear(4, 3), Unseeded())
    same = [Network(nn.Linear(4, 3), Drawn(seed)).fingerprint for seed in (0, 0, 1)]
    assert same[0] == same[1] != same[2]


def test_a_base_of_the_library_is_drawn_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls, weights = [], RandomBase.weights

    def counted(self: RandomBase, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
        calls.append(shapes)
        return weights(self, shapes)

    monkeypatch.setattr(RandomBase, "weights", counted)
    Network(nn.Linear(4, 3), RandomBase(0))
    assert len(calls) == 1


def test_what_is_expected_names_only_settings_as_examples() -> None:
    @dataclass(frozen=True)
    class OwnList(Settings):
        values: list

    with pytest.raises(ConfigError, match=r"^values of OwnList must be a list, got \(1,\)$"):
        OwnList((1,))  # pyright: ignore[reportArgumentType]
