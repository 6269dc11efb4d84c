"""Rows of different tasks in one pass: the logits of each task alone, for every kind of change and any network."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from supermasks import Network
from supermasks.bases import PretrainedBase, RandomBase
from supermasks.changes import Change, Masked, RankOne, Replaced, Rotated, Unchanged
from supermasks.errors import InputError, MaskError
from supermasks.masks import Mask
from supermasks.mixed_rows import mixed_logits
from supermasks.state import TaskState
from supermasks.task_info import TaskInfo

COUNTS = [1, 3, 1, 2, 4]


@pytest.fixture(params=["portable", "compiled"], autouse=True)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "portable":
        monkeypatch.setattr("supermasks.masks.rows.compiled", lambda: None)
    else:
        pytest.importorskip("numba")


def alone(network: Network, inputs: Tensor, states: Sequence[TaskState], counts: Sequence[int]) -> Tensor:
    parts = inputs.split(list(counts))
    return torch.cat([network.logits(part, state) for part, state in zip(parts, states, strict=True)])


def random_inputs(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(7))


def check(network: Network, states: Sequence[TaskState], inputs: Tensor, together: bool) -> None:
    """Compare all rows with their tasks alone, twice, and whether they went through the network together."""
    for _ in range(2):
        found = mixed_logits(network, inputs, states, COUNTS)
        torch.testing.assert_close(found, alone(network, inputs, states, COUNTS), rtol=1e-4, atol=1e-5)
    assert [*network.backbone.mixes.values()][-1] == together


def test_rows_have_the_dense_logits_of_their_tasks(world: Any) -> None:
    inputs = random_inputs(sum(COUNTS), *world.inputs.shape[1:])
    check(world.network, world.states, inputs, together=True)
    found = mixed_logits(world.network, inputs, world.states, COUNTS).split(COUNTS)
    for task, (rows, part) in enumerate(zip(found, inputs.split(COUNTS), strict=True)):
        truth = world.logits(torch.eye(len(world.states))[task].double(), part)
        torch.testing.assert_close(rows.double(), truth, rtol=1e-4, atol=1e-5)


def states_of(network: Network, make: Callable[[str, int, tuple[int, ...]], Change], inputs: Tensor) -> list[TaskState]:
    """Return a state a task, of the changes that `make` returns for a name, the number of a task and a shape."""
    info = [TaskInfo(f"t{i}", (0, 1, 2), tuple(inputs.shape[1:]), inputs.dtype) for i in range(len(COUNTS))]
    shapes = {**network.shapes, **network.head_shapes(3)}
    constants = {name: tuple(value.shape) for name, value in network.constants.items()}
    found: list[TaskState] = []
    for number, each in enumerate(info):
        changes = {name: make(name, number, shape) for name, shape in shapes.items()}
        others = {name: make(name, number, shape) for name, shape in constants.items()}
        changes |= {name: change for name, change in others.items() if isinstance(change, Replaced)}
        found.append(TaskState(each, changes))
    return found


def random_mask(number: int, shape: tuple[int, ...]) -> Masked:
    rng = torch.Generator().manual_seed(number)
    return Masked(Mask.pack({"w": torch.rand(shape, generator=rng) < 0.5}), "w")


def masks(name: str, number: int, shape: tuple[int, ...]) -> Change:
    return random_mask(number + sum(map(ord, name)), shape)


def random_value(number: int, shape: tuple[int, ...]) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(number))


MAKERS: Mapping[str, Callable[[int, tuple[int, ...]], Change]] = {
    "mask": random_mask,
    "replaced": lambda number, shape: Replaced(random_value(number, shape)),
    "rank-one": lambda number, shape: RankOne(
        random_value(number, shape[:1]), random_value(9 + number, shape[1:2]), shape
    ),
    "rotated": lambda number, shape: Rotated(number, shape),
    "unchanged": lambda number, shape: Unchanged(shape),
}


def biased() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 3, 3),
        nn.ReLU(),
        nn.ConvTranspose2d(3, 2, 2, stride=2),
        nn.Flatten(),
        nn.Linear(128, 9),
        nn.Tanh(),
        nn.Linear(9, 5),
    )


@pytest.mark.parametrize("biases", ["shared", "own", "some"])
@pytest.mark.parametrize("kind", [*MAKERS, "one of each"])
def test_every_kind_of_change(kind: str, biases: str) -> None:
    network, inputs = Network(biased(), PretrainedBase("tests")), random_inputs(sum(COUNTS), 1, 6, 6)

    def make(name: str, number: int, shape: tuple[int, ...]) -> Change:
        if len(shape) == 1:
            own = biases == "own" or (biases == "some" and number % 2)
            return Replaced(random_value(number, shape)) if own else Unchanged(shape)
        chosen = [*MAKERS][number % len(MAKERS)] if kind == "one of each" else kind
        return MAKERS[chosen](number + sum(map(ord, name)), shape)

    check(network, states_of(network, make, inputs), inputs, together=True)


def test_heads_of_their_own() -> None:
    network = Network(nn.Sequential(nn.Linear(6, 9), nn.ReLU(), nn.Linear(9, 5)), RandomBase(0), head="2")
    inputs = random_inputs(sum(COUNTS), 6)

    def make(name: str, number: int, shape: tuple[int, ...]) -> Change:
        return Replaced(random_value(number, shape)) if name.startswith("2") else masks(name, number, shape)

    check(network, states_of(network, make, inputs), inputs, together=True)


class Tokens(nn.Module):
    """Embedding, places, and a layer that is called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.inner, self.out = nn.Embedding(11, 8, padding_idx=0), nn.Linear(8, 8), nn.Linear(8, 4)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.embedding(inputs)
        hidden = hidden + self.inner(self.inner(hidden).relu())
        return self.out(hidden.mean(dim=1))


def test_embeddings_places_and_layers_that_are_called_twice() -> None:
    network = Network(Tokens(), RandomBase(0))
    inputs = torch.randint(0, 11, (sum(COUNTS), 7), generator=torch.Generator().manual_seed(0))
    check(network, states_of(network, masks, inputs), inputs, together=True)


def test_an_unknown_token_is_an_error_and_nothing_is_learned_from_it() -> None:
    network = Network(Tokens(), RandomBase(0))
    inputs = torch.ones(sum(COUNTS), 7, dtype=torch.int64)
    states = states_of(network, masks, inputs)
    with pytest.raises(IndexError):
        mixed_logits(network, inputs + 50, states, COUNTS)
    check(network, states, inputs, together=True)


class PlacesFirst(nn.Module):
    """Its first layer gets `places x batch x features`."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.out = nn.Linear(4, 5), nn.Linear(5, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.out(self.inner(inputs.transpose(0, 1)).relu().mean(dim=0))


class Direct(nn.Module):
    """Uses a parameter of a layer without a call of it."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.out = nn.Linear(4, 5), nn.Linear(5, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.out(nn.functional.linear(inputs, self.inner.weight).relu().mean(dim=1))


class Named(nn.Module):
    """Calls a layer by keyword."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.inner(input=inputs.mean(dim=1))


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner, self.out = nn.GRU(4, 5, batch_first=True), nn.Linear(5, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.out(self.inner(inputs)[0][:, -1])


class Noisy(nn.Module):
    """Its answers depend on the other rows."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.inner(inputs.mean(dim=1)) * len(inputs)


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)
        self.inner, self.out = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False), nn.Linear(4, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.out(self.inner(inputs).mean(dim=1))


@pytest.mark.parametrize("places", [6, sum(COUNTS)])
@pytest.mark.parametrize("kind", [PlacesFirst, Direct, Named, Recurrent, Attention])
def test_networks_whose_rows_cannot_be_mixed_answer_task_by_task(kind: Any, places: int) -> None:
    network, inputs = Network(kind(), RandomBase(0)), random_inputs(sum(COUNTS), places, 4)
    check(network, states_of(network, masks, inputs), inputs, together=False)


def test_a_network_whose_answers_depend_on_the_batch_is_not_mixed() -> None:
    network, inputs = Network(Noisy(), RandomBase(0)), random_inputs(sum(COUNTS), 6, 4)
    states = states_of(network, masks, inputs)
    found = mixed_logits(network, inputs, states, COUNTS)
    assert torch.equal(found, alone(network, inputs, states, COUNTS))


class Sorted(nn.Module):
    """Computes its inputs in the order of their sums, as some networks do with the lengths of texts."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.out = nn.Linear(4, 5), nn.Linear(5, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        order = inputs.sum(dim=1).argsort(stable=True)
        return self.out(self.inner(inputs[order]).relu())[order.argsort()]


class Routed(Sorted):
    """Computes some of its inputs by another layer."""

    def forward(self, inputs: Tensor) -> Tensor:
        hidden, few = torch.zeros(len(inputs), 5), inputs.sum(dim=1) > 0
        hidden[few] = self.inner(inputs[few])
        return self.out(hidden)


class SortedIfSeveral(Sorted):
    """A single input needs no sorting."""

    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(inputs) if len(inputs) > 1 else self.out(self.inner(inputs).relu())


class Stacked(Sorted):
    """Takes its rows one by one."""

    def forward(self, inputs: Tensor) -> Tensor:
        order = inputs.sum(dim=1).argsort(stable=True).tolist()
        hidden = self.out(self.inner(torch.stack([inputs[row] for row in order])).relu())
        return torch.stack([hidden[order.index(row)] for row in range(len(order))])


class SortedIfNeeded(Sorted):
    """Computes its inputs in the order of their lengths, unless all have the same."""

    def forward(self, inputs: Tensor) -> Tensor:
        lengths = inputs.ne(0).sum(dim=1)
        if lengths.unique().numel() == 1:
            return self.out(self.inner(inputs).relu())
        order = lengths.argsort(stable=True)
        return self.out(self.inner(inputs[order]).relu())[order.argsort()]


@pytest.mark.parametrize("kind", [Sorted, Routed, SortedIfSeveral, Stacked, SortedIfNeeded])
def test_rows_that_may_change_places_are_not_mixed_even_if_they_did_not_at_first(kind: Any) -> None:
    network, inputs = Network(kind(), RandomBase(0)), random_inputs(sum(COUNTS), 4).abs()
    states = states_of(network, masks, inputs)
    in_order = inputs[inputs.sum(dim=1).argsort()]
    check(network, states, in_order, together=False)
    check(network, states, in_order.flip(0), together=False)
    in_order[::2, 2:] = 0
    check(network, states, in_order, together=False)


class SortedTokens(nn.Module):
    """Sorts token ids, which are no floating-point numbers, by their lengths."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.out = nn.Embedding(9, 5), nn.Linear(5, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        order = inputs.ne(0).sum(dim=1).argsort(stable=True)
        hidden = self.inner(inputs[order]).mean(dim=1).unsqueeze(dim=0).transpose(0, 1)
        return self.out(torch.cat([hidden[row : row + 1, 0] for row in order.argsort().tolist()]))


def test_tokens_that_may_change_places_are_not_mixed() -> None:
    network = Network(SortedTokens(), RandomBase(0))
    inputs = torch.randint(1, 9, (sum(COUNTS), 4), generator=torch.Generator().manual_seed(7))
    states = states_of(network, masks, inputs)
    check(network, states, inputs, together=False)
    inputs[::2, 2:] = 0
    check(network, states, inputs, together=False)


def test_statistics_of_the_batch_are_those_of_one_task() -> None:
    module = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, 3))
    counts = [2, 3, 2, 2, 4]
    network, inputs = Network(module, RandomBase(0), norm="batch"), random_inputs(sum(counts), 4)
    states = states_of(network, masks, inputs)
    assert torch.equal(mixed_logits(network, inputs, states, counts), alone(network, inputs, states, counts))
    assert not network.backbone.mixes


def test_the_network_answers_as_before_afterwards(world: Any) -> None:
    inputs = random_inputs(sum(COUNTS), *world.inputs.shape[1:])
    before = [world.network.logits(inputs, state) for state in world.states]
    mixed_logits(world.network, inputs, world.states, COUNTS)
    for state, logits in zip(world.states, before, strict=True):
        assert torch.equal(world.network.logits(inputs, state), logits)
    plain = world.network.forward(inputs, world.network.weights)
    assert bool(plain.isfinite().all())


def test_inputs_and_states_are_checked(worlds: Callable[..., Any]) -> None:
    world = worlds("mlp")
    with pytest.raises(InputError, match="shape"):
        mixed_logits(world.network, random_inputs(sum(COUNTS), 5), world.states, COUNTS)
    with pytest.raises(InputError, match="finite"):
        mixed_logits(world.network, torch.full((sum(COUNTS), 6), torch.nan), world.states, COUNTS)
    other = worlds("cnn").states
    with pytest.raises(MaskError):
        mixed_logits(world.network, random_inputs(sum(COUNTS), 6), [*world.states[:4], other[4]], COUNTS)


def test_answers_that_are_not_finite_are_those_of_the_tasks(world: Any) -> None:
    inputs = torch.full((sum(COUNTS), *world.inputs.shape[1:]), 3e38)
    found = mixed_logits(world.network, inputs, world.states, COUNTS)
    assert torch.equal(found.isfinite(), alone(world.network, inputs, world.states, COUNTS).isfinite())


class Careful(nn.Module):
    """Checks a weight itself before it computes large inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        if bool((inputs.abs() > 50).any()) and not bool(self.last.weight.isfinite().all()):
            raise ValueError("the weight has diverged")
        return self.last(self.first(inputs).relu())


def test_rows_whose_mixture_a_layer_refuses_only_now_answer_task_by_task() -> None:
    network, inputs = Network(Careful(), RandomBase(0)), random_inputs(sum(COUNTS), 6)
    states = states_of(network, masks, inputs)
    check(network, states, inputs, together=True)
    check(network, states, 100 * inputs, together=False)
