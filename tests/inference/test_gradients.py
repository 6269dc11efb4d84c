"""Gradients in the coefficients, against a dense float64 network: by autograd, and by central differences."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from states import changed, masked_state
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from supermasks import Network
from supermasks.bases import PretrainedBase, RandomBase
from supermasks.errors import ConfigError
from supermasks.inference import Entropy, MaxProbability, Objective, OneShot, SuperfluousNeurons
from supermasks.inference.gradients import batch_gradient, centre, each_gradient
from supermasks.masks import Mask
from supermasks.state import TaskState
from supermasks.superposition import Superposition
from supermasks.types import Belief

OBJECTIVES = [Entropy(), SuperfluousNeurons(), MaxProbability()]
FORMULAS: dict[type[Objective], Callable[[Tensor, Tensor, int], Tensor]] = {
    Entropy: lambda y, at, classes: -(y.softmax(1) * y.log_softmax(1)).sum(1),
    # Lemma I.1: the gradient is p_v at superfluous neurons only. Linear in y, so that differences see it too.
    SuperfluousNeurons: lambda y, at, classes: (at.softmax(1) * y)[:, classes:].sum(1),
    MaxProbability: lambda y, at, classes: -y.softmax(1).amax(1),
}


@pytest.fixture(autouse=True, params=[1, 1000], ids=["by-directions", "by-weights"])
def both_ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gradients of single inputs are taken in two ways, of many inputs and of few."""
    monkeypatch.setattr("supermasks.inference.gradients.FEW_INPUTS", request.param)


def points(count: int) -> list[Tensor]:
    rng = torch.Generator().manual_seed(1)
    skewed = torch.rand(count, generator=rng)
    return [torch.full((count,), 1 / count), skewed / skewed.sum()]


def truth(world: Any, objective: Objective, alpha: Tensor) -> Callable[[Tensor], Tensor]:
    """The objective of each input as a function of alpha in the weights; buffers are constants."""
    at = world.logits(alpha).detach()
    return lambda a: FORMULAS[type(objective)](world.logits(a, buffers_at=alpha), at, world.classes)


def by_autograd(world: Any, objective: Objective, alpha: Tensor) -> Tensor:
    alpha = alpha.double()
    return torch.autograd.functional.jacobian(truth(world, objective, alpha), alpha)  # pyright: ignore


def by_differences(world: Any, objective: Objective, alpha: Tensor, step: float = 1e-6) -> Tensor:
    alpha = alpha.double()
    value = truth(world, objective, alpha)
    steps = step * torch.eye(len(alpha), dtype=torch.float64)
    return torch.stack([(value(alpha + s) - value(alpha - s)) / (2 * step) for s in steps], dim=1)


@pytest.mark.parametrize("truly", [by_autograd, by_differences])
@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda o: type(o).__name__)
def test_gradient_of_a_batch(world: Any, objective: Objective, truly: Callable[..., Tensor]) -> None:
    for alpha in points(5):
        expected = truly(world, objective, alpha).mean(dim=0)
        assert float(expected.abs().max()) > 1e-3  # something to compare
        got = batch_gradient(world.superposition, world.inputs, alpha, objective, range(5))
        torch.testing.assert_close(got.double(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("truly", [by_autograd, by_differences])
@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda o: type(o).__name__)
def test_gradient_of_each_input(world: Any, objective: Objective, truly: Callable[..., Tensor]) -> None:
    for alpha in points(5):
        got = each_gradient(world.superposition, world.inputs, alpha, objective)
        torch.testing.assert_close(got.double(), truly(world, objective, alpha), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda o: type(o).__name__)
def test_centred_gradients_lack_the_mean_of_each_neuron(world: Any, objective: Objective) -> None:
    alpha = points(5)[1]
    base = {name: value.detach() for name, value in world.mixed(alpha.double()).items()}
    at = world.plain(base, world.inputs.double()).detach()
    # Each task's direction, centred row by row: written out for a matrix of `neurons x everything into it`.
    directions = []
    for state in world.states:
        of_task = dict[str, Tensor]()
        for name, weight in world.network.weights.items():
            rows = (weight * state.mask[name]).double().reshape(len(weight), -1)
            of_task[name] = torch.stack([row - row.sum() / len(row) for row in rows]).reshape(weight.shape)
        directions.append(of_task)

    def moved(a: Tensor) -> Tensor:
        values = dict(base)
        for name in world.network.weights:
            values[name] = base[name] + sum(a[i] * of_task[name] for i, of_task in enumerate(directions))
        return FORMULAS[type(objective)](world.plain(values, world.inputs.double()), at, world.classes)

    expected = torch.autograd.functional.jacobian(moved, torch.zeros(5, dtype=torch.float64))  # pyright: ignore
    plain = each_gradient(world.superposition, world.inputs, alpha, objective)
    got = each_gradient(world.superposition, world.inputs, alpha, objective, centred=True)
    torch.testing.assert_close(got.double(), expected, rtol=1e-4, atol=1e-5)
    assert float((got - plain).abs().max()) > 1e-3
    mean = batch_gradient(world.superposition, world.inputs, alpha, objective, range(5), centred=True)
    torch.testing.assert_close(mean.double(), expected.mean(dim=0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("exact", [True, False])
def test_centred_one_shot_takes_centred_gradients(world: Any, exact: bool) -> None:
    inference, everyone = OneShot(Entropy(), exact, centred=True), torch.full((5,), 1 / 5)
    expected = -each_gradient(world.superposition, world.inputs, everyone, Entropy(), centred=True)
    for belief in (
        inference.infer_each(world.superposition, world.inputs),
        Belief.joined([inference.infer(world.superposition, one[None]) for one in world.inputs]),
    ):
        torch.testing.assert_close(belief.evidence, expected, rtol=1e-4, atol=1e-5)  # five tasks are all listed


def test_gradient_among_some_tasks_at_their_mixture(world: Any) -> None:
    among = [4, 1, 2]
    alpha = torch.zeros(5)
    alpha[among] = 1 / 3
    expected = by_autograd(world, Entropy(), alpha).mean(dim=0)[among]
    got = batch_gradient(world.superposition, world.inputs, alpha, Entropy(), among)
    torch.testing.assert_close(got.double(), expected, rtol=1e-4, atol=1e-5)


def test_gradients_are_the_same_without_and_with_gradients_enabled(world: Any) -> None:
    alpha = points(5)[0]
    with torch.no_grad():
        quiet = (
            batch_gradient(world.superposition, world.inputs, alpha, Entropy(), range(5)),
            each_gradient(world.superposition, world.inputs, alpha, Entropy()),
        )
    assert torch.equal(quiet[0], batch_gradient(world.superposition, world.inputs, alpha, Entropy(), range(5)))
    assert torch.equal(quiet[1], each_gradient(world.superposition, world.inputs, alpha, Entropy()))
    assert not any(g.requires_grad for g in quiet)


def test_taking_a_gradient_changes_nothing(world: Any) -> None:
    before = [{name: value.clone() for name, value in world.superposition.member(i).items()} for i in range(5)]
    for alpha in (points(5)[0], torch.eye(5)[2]):
        batch_gradient(world.superposition, world.inputs, alpha, Entropy(), range(5))
        each_gradient(world.superposition, world.inputs, alpha, Entropy())
    for i, values in enumerate(before):
        for name, value in world.superposition.member(i).items():
            assert torch.equal(value, values[name])
            assert not value.requires_grad


@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda o: type(o).__name__)
def test_one_shot_of_each_input_is_one_shot_of_that_input_alone(world: Any, objective: Objective) -> None:
    inference = OneShot(objective)
    each = inference.infer_each(world.superposition, world.inputs)
    assert each.evidence.shape == (7, 5)
    for n, one in enumerate(world.inputs):
        alone = inference.infer(world.superposition, one[None])
        torch.testing.assert_close(each.evidence[n], alone.evidence[0], rtol=1e-4, atol=1e-5)
        assert each.chosen[n] == alone.chosen[0]


@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda o: type(o).__name__)
def test_one_shot_is_the_argmax_of_the_negative_gradient(world: Any, objective: Objective) -> None:
    expected = -by_autograd(world, objective, torch.full((5,), 0.2))
    each = OneShot(objective).infer_each(world.superposition, world.inputs)
    assert each.chosen.tolist() == expected.argmax(dim=1).tolist()
    together = OneShot(objective).infer(world.superposition, world.inputs)
    assert together.chosen.tolist() == [int(expected.mean(dim=0).argmax())]
    torch.testing.assert_close(together.evidence[0].double(), expected.mean(dim=0), rtol=1e-4, atol=1e-5)
    assert not each.tied.any()


def test_gradients_through_the_first_layers_only(world: Any) -> None:
    alpha = torch.full((5,), 0.2, dtype=torch.float64, requires_grad=True)
    for layers in (1, 2):
        taken = list(world.network.weights)[:layers]
        constant, mixed = world.mixed(alpha.detach()), world.mixed(alpha, buffers_at=alpha)
        logits = world.plain({**constant, **{name: mixed[name] for name in taken}}, world.inputs.double())
        entropy = FORMULAS[Entropy](logits, logits, world.classes)
        expected = -torch.stack([torch.autograd.grad(value, alpha, retain_graph=True)[0] for value in entropy])
        inference = OneShot(layers=layers)
        each = inference.infer_each(world.superposition, world.inputs)
        torch.testing.assert_close(each.evidence.double(), expected, rtol=1e-4, atol=1e-5)
        together = inference.infer(world.superposition, world.inputs)
        torch.testing.assert_close(together.evidence[0].double(), expected.mean(dim=0), rtol=1e-4, atol=1e-5)
        listed = OneShot(layers=layers, exact=False).infer_each(world.superposition, world.inputs)
        torch.testing.assert_close(listed.evidence, each.evidence)


def test_there_is_at_least_one_layer() -> None:
    with pytest.raises(ConfigError, match="layers must be at least 1"):
        OneShot(layers=0)


class SequenceFirst(nn.Module):
    """A layer that is called with what has the inputs second: three positions of three inputs look like one another."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.out = nn.Linear(4, 6, bias=False), nn.Linear(6, 8, bias=False)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.out(self.layer(inputs.transpose(0, 1)).relu().mean(dim=0))


class UsedTwice(nn.Module):
    """One layer is called twice, and its weight is used once more without calling it."""

    def __init__(self, direct: bool) -> None:
        super().__init__()
        self.direct, self.layer, self.out = direct, nn.Linear(4, 4, bias=False), nn.Linear(4, 8, bias=False)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.layer(self.layer(inputs).relu())
        return self.out(hidden @ self.layer.weight.T if self.direct else hidden)


class InPlace(nn.Module):
    """What a layer returns is changed in place."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.out = nn.Linear(4, 6, bias=False), nn.Linear(6, 8, bias=False)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.out(self.layer(inputs).relu_())


@pytest.mark.parametrize(
    ("module", "shape", "by_layers"),
    [
        (SequenceFirst(), (3, 4), False),
        (UsedTwice(direct=False), (4,), True),
        (UsedTwice(direct=True), (4,), False),
        (InPlace(), (4,), True),
        (nn.Sequential(nn.Conv1d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(9, 8)), (2, 5), True),
        (nn.Sequential(nn.Conv2d(2, 4, 3, groups=2), nn.Flatten(), nn.Linear(16, 8)), (2, 4, 4), True),
        (nn.Sequential(nn.Linear(4, 5), nn.Flatten(), nn.Linear(15, 8)), (3, 4), True),
        (nn.Sequential(nn.ConvTranspose1d(2, 3, 3, stride=2), nn.Flatten(), nn.Linear(33, 8)), (2, 5), True),
        (
            nn.Sequential(nn.ConvTranspose2d(4, 6, 3, 2, 1, 1, groups=2), nn.Flatten(), nn.Linear(96, 8)),
            (4, 2, 2),
            True,
        ),
        (nn.Sequential(Conv1D(5, 4), nn.ReLU(), nn.Flatten(), Conv1D(8, 15)), (3, 4), True),
        (
            nn.Sequential(nn.Conv2d(2, 3, 3, padding=1, padding_mode="reflect"), nn.Flatten(), nn.Linear(48, 8)),
            (2, 4, 4),
            True,
        ),
    ],
    ids=[
        "sequence-first",
        "called-twice",
        "used-directly",
        "in-place",
        "conv1d",
        "grouped",
        "places",
        "transposed",
        "grouped-transposed",
        "gpt-2",
        "reflecting",
    ],
)
@pytest.mark.parametrize("batch", [3, 5])
def test_any_network_gives_each_input_its_own_gradient(
    module: nn.Module, shape: tuple[int, ...], by_layers: bool, batch: int
) -> None:
    network = Network(module, RandomBase(0))
    rng = torch.Generator().manual_seed(0)
    masks = [{n: torch.rand(s, generator=rng) < 0.5 for n, s in network.shapes.items()} for _ in range(4)]
    superposition = Superposition(
        network, [masked_state(str(i), (0, 1, 2), shape, Mask.pack(mask)) for i, mask in enumerate(masks)]
    )
    inputs = torch.randn(batch, *shape, generator=rng)
    alpha = torch.full((4,), 0.25, requires_grad=True)

    def entropy(one: Tensor) -> Tensor:
        mixed = {
            name: weight * sum(a * mask[name] for a, mask in zip(alpha, masks, strict=True))
            for name, weight in network.weights.items()
        }
        log_p = torch.func.functional_call(module, mixed, (one[None],)).log_softmax(dim=1)
        return -(log_p.exp() * log_p).sum()

    values = {**dict(module.named_parameters()), **network.constants}
    with torch.no_grad():  # what is not masked is as in the network
        for name, parameter in module.named_parameters():
            parameter.copy_(values[name])
    expected = torch.stack([torch.autograd.grad(entropy(one), alpha)[0] for one in inputs])
    got = each_gradient(superposition, inputs, alpha.detach(), Entropy())
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-6)
    assert superposition.by_layers is by_layers


def states_over(network: Network, shape: tuple[int, ...]) -> list[TaskState]:
    rng = torch.Generator().manual_seed(3)
    masks = [{n: torch.rand(s, generator=rng) < 0.5 for n, s in network.shapes.items()} for _ in range(4)]
    return [
        masked_state(str(i), (0, 1, 2), shape, Mask.pack(mask), network.fresh_buffers()) for i, mask in enumerate(masks)
    ]


class Standardised(nn.Module):
    """The first layer's weights are used by a function, and have no gradient where the inputs are blank."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.out = nn.Linear(4, 6, bias=False), nn.Linear(6, 8, bias=False)

    def forward(self, inputs: Tensor) -> Tensor:
        weight = self.layer.weight - self.layer.weight.mean(dim=1, keepdim=True)
        return self.out(torch.relu(nn.functional.linear(inputs, weight) + 1))


class Functional(nn.Module):
    """No layer is called at all."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.out = nn.Linear(4, 6, bias=False), nn.Linear(6, 8, bias=False)

    def forward(self, inputs: Tensor) -> Tensor:
        return nn.functional.linear(nn.functional.linear(inputs, self.layer.weight).relu(), self.out.weight)


@pytest.mark.parametrize(
    ("module", "norm"),
    [
        (Standardised(), "per_task"),
        (Functional(), "per_task"),
        (nn.Sequential(nn.Linear(4, 6, bias=False), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 8)), "per_task"),
        (
            nn.Sequential(nn.Linear(4, 6), nn.Unflatten(1, (2, 3)), nn.BatchNorm1d(2), nn.Flatten(), nn.Linear(6, 8)),
            "batch",
        ),
    ],
    ids=["standardised", "functional", "norm", "norm-of-batch"],
)
@pytest.mark.parametrize("blank", [torch.zeros(5, 4), torch.ones(5, 4)], ids=["zeros", "ones"])
def test_earlier_inputs_do_not_matter(module: nn.Module, norm: Any, blank: Tensor) -> None:
    """Against each input alone."""
    network = Network(module, RandomBase(0), norm=norm)
    superposition = Superposition(network, states_over(network, (4,)))
    inputs, alpha = torch.randn(6, 4, generator=torch.Generator().manual_seed(0)), torch.full((4,), 0.25)
    each_gradient(superposition, blank, alpha, Entropy())
    got = each_gradient(superposition, inputs, alpha, Entropy())
    alone = [each_gradient(superposition, one[None], alpha, Entropy()) for one in inputs]
    torch.testing.assert_close(got, torch.cat(alone), rtol=1e-4, atol=1e-6)
    assert float(got.abs().max()) > 1e-3


def test_equal_token_ids_do_not_decide() -> None:
    """Rows of padding tell nothing about a network; the next inputs do."""
    module = nn.Sequential(nn.Embedding(9, 4), nn.Flatten(), nn.Linear(12, 8))
    network = Network(module, RandomBase(0))
    superposition = Superposition(
        network, [changed(state, input_dtype=torch.int64) for state in states_over(network, (3,))]
    )
    alpha = torch.full((4,), 0.25)
    each_gradient(superposition, torch.zeros(4, 3, dtype=torch.int64), alpha, Entropy())
    assert superposition.by_layers is None
    each_gradient(superposition, torch.arange(12).view(4, 3) % 9, alpha, Entropy())
    assert superposition.by_layers is True


@pytest.mark.parametrize("groups", [1, 2])
def test_the_mean_of_a_neuron_in_a_transposed_convolution(groups: int) -> None:
    layer = nn.ConvTranspose2d(4, 6, 3, groups=groups, bias=False)
    weight = torch.randn(layer.weight.shape, generator=torch.Generator().manual_seed(0))
    expected = weight.clone()
    for channel in range(6):
        # The weights of a neuron are those on which its output depends.
        layer.weight.grad = None
        layer(torch.ones(1, 4, 5, 5))[0, channel].sum().backward()
        assert layer.weight.grad is not None
        own = layer.weight.grad != 0
        assert int(own.sum()) == 9 * 4 // groups
        expected[own] -= weight[own].mean()
    torch.testing.assert_close(centre(weight, groups=groups), expected)
    torch.testing.assert_close(centre(torch.stack([weight, -weight]), 1, groups), torch.stack([expected, -expected]))


@pytest.mark.parametrize("both", [True, False])
def test_centred_evidence_does_not_depend_on_how_a_layer_lays_out_its_weights(both: bool) -> None:
    """A transposed convolution over one place, with a kernel of one, is a linear layer with `in x out` weights."""
    generator, shapes = torch.Generator().manual_seed(1), [(9, 8), (6, 9)]
    weights = [torch.randn(shape, generator=generator) for shape in shapes]
    masks = [[torch.rand(shape, generator=generator) < 0.5 for shape in shapes] for _ in range(3)]

    def evidence(transposed: bool) -> Tensor:
        def linear(outputs: int, inputs: int) -> nn.Module:
            kind = nn.ConvTranspose1d(inputs, outputs, 1, bias=False)
            return kind if transposed else nn.Conv1d(inputs, outputs, 1, bias=False)

        def laid_out(value: Tensor) -> Tensor:
            return (value.T if transposed else value)[..., None].contiguous()

        module = nn.Sequential(nn.Unflatten(1, (8, 1)), linear(9, 8), nn.ReLU(), linear(6, 9), nn.Flatten())
        with torch.no_grad():
            for path, weight in zip("13", weights, strict=True):
                module[int(path)].weight.copy_(laid_out(weight))  # pyright: ignore
        network = Network(module, PretrainedBase("laid out"))
        states = [
            masked_state(f"t{i}", range(3), (8,), Mask.pack({"1.weight": laid_out(of[0]), "3.weight": laid_out(of[1])}))
            for i, of in enumerate(masks)
        ]
        inputs = torch.randn(5, 8, generator=torch.Generator().manual_seed(2))
        superposition, alpha = Superposition(network, states), torch.full((3,), 1 / 3)
        if both:
            return each_gradient(superposition, inputs, alpha, Entropy(), centred=True)
        return batch_gradient(superposition, inputs, alpha, Entropy(), range(3), centred=True)

    torch.testing.assert_close(evidence(transposed=True), evidence(transposed=False), rtol=1e-4, atol=1e-6)
