"""What every base keeps to; a new base, or initialisation, joins with one row."""

import copy
from collections.abc import Callable

import pytest
import torch
from ours import ours
from torch import nn

from supermasks import Learner, Network, Task
from supermasks.anatomy import dissect
from supermasks.bases import INITIALISATIONS, Base, PretrainedBase, RandomBase, base_from_recipe, fingerprint
from supermasks.nets import fully_connected
from supermasks.spec import describe
from supermasks.training import RMSprop, Training

ROWS: list[Base] = [*(RandomBase(4, name) for name in INITIALISATIONS), PretrainedBase("someone's")]

rows = pytest.mark.parametrize("base", ROWS, ids=repr)


class Everything(nn.Module):
    """Parameters and buffers of all kinds: drawn, constant, of a layer of its own, statistics, and an own buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.line, self.image = nn.Linear(30, 20), nn.Conv1d(6, 4, 5), nn.Conv2d(8, 4, 3)
        self.volume, self.thin, self.words = nn.Conv3d(3, 2, 2), nn.Linear(1, 1), nn.Embedding(7, 5)
        self.norm, self.own = nn.BatchNorm1d(3), nn.Parameter(torch.arange(6.0).view(2, 3))
        self.register_buffer("table", torch.arange(5))


def values(base: Base, module: nn.Module | None = None) -> dict[str, torch.Tensor]:
    module = module or Everything()
    own = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    return base.values(dissect(module), {name: value.detach() for name, value in own.items()})


def test_every_base_has_a_row() -> None:
    assert {type(base) for base in ROWS} == set(ours(Base))


@rows
def test_every_part_has_a_finite_value_of_its_shape(base: Base) -> None:
    parts, got = dissect(Everything()), values(base)
    assert {name: tuple(value.shape) for name, value in got.items()} == {part.name: part.shape for part in parts}
    for part in parts:
        assert torch.isfinite(got[part.name]).all()
        assert not got[part.name].requires_grad
        assert part.role != "masked" or bool((got[part.name] != 0).any())


@rows
def test_every_call_gives_the_same_values_in_memory_of_its_own(base: Base) -> None:
    module = Everything()
    first = values(base, module)
    expected = fingerprint(first)
    for value in first.values():
        value.zero_()
    assert fingerprint(values(base, module)) == expected
    assert fingerprint(values(base, copy.deepcopy(module))) == expected


@rows
def test_what_is_kept_and_the_recipe_bring_all_values_back(base: Base) -> None:
    """Over random weights another module will do; over pretrained ones it must be the same."""
    torch.manual_seed(0)
    module = Everything()
    parts, there = dissect(module), values(base, module)
    other = copy.deepcopy(module) if isinstance(base, PretrainedBase) else Everything()
    own = {**dict(other.named_parameters()), **dict(other.named_buffers())}
    own |= {name: there[name] for name in base.kept(parts)}
    again = base_from_recipe(describe(base)).values(parts, {name: value.detach() for name, value in own.items()})
    assert fingerprint(again) == fingerprint(there)


@rows
def test_a_base_is_a_value_that_is_stored(base: Base) -> None:
    back = base_from_recipe(describe(base))
    assert back == base
    assert hash(back) == hash(base)
    module = fully_connected([4, 3])
    assert Network(module, back).fingerprint == Network(module, base).fingerprint


@rows
def test_a_mask_over_it_learns(base: Base, blobs: Callable[..., Task]) -> None:
    torch.manual_seed(0)
    learner = Learner(fully_connected([8, 64, 6]), base=base, training=Training(100, 16, RMSprop(1e-2)))
    task = blobs("t")
    learner.learn(task)
    assert task.test is not None
    assert learner.accuracy(task.test, "t") > 0.9
