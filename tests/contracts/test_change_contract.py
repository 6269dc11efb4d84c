"""What every kind of change keeps to. The changes are those that methods learn, and those of compressed fine-tunes."""

from collections.abc import Callable
from itertools import groupby

import pytest
import torch
from ours import ours
from torch import Tensor, nn

from supermasks import Learner, Network, Task, compress
from supermasks.bases import RandomBase
from supermasks.changes import Change
from supermasks.masks import Threshold
from supermasks.methods import Individual, Method, Sequential, SignedMasks, SupSup
from supermasks.superposition import Superposition
from supermasks.training import Adam, Training


class Compressed(Individual):
    """Tasks that are fine-tuned and then compressed."""


KINDS = [*ours(Method), Compressed]
rows = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
Blobs = Callable[..., Task]


def learned(kind: type[Method], blobs: Blobs) -> Learner:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 5))
    learner = Learner(Network(module, RandomBase(2)), seed=4, method=kind(), training=Training(10, 12, Adam(1e-2)))
    for name in "abc":
        learner.learn(blobs(name, 3, (1, 6, 6)))
    return compressed(learner) if kind is Compressed else learner


def compressed(learner: Learner) -> Learner:
    """Return a learner with the same tasks, each with one share of its differences and in one form of scales."""
    other = Learner(learner.network)
    inputs = torch.randn(30, 1, 6, 6)
    for name, keep in zip("abc", (0.1, 0.5, 1.0), strict=True):
        scales = "output" if name == "b" else "layer"
        other.add(compress(learner.network, learner.export(name), name, inputs, keep=keep, scales=scales))
    return other


def changes(learner: Learner) -> list[tuple[str, type[Change], list[Change]]]:
    """Return for each weight the changes of all tasks, those of a kind together."""
    found = list[tuple[str, type[Change], list[Change]]]()
    for name in learner.network.weights:
        of_tasks = sorted((state.changes[name] for state in learner.bank), key=lambda change: type(change).__name__)
        found += [(name, kind, list(group)) for kind, group in groupby(of_tasks, type)]
    return found


@rows
def test_decoding_gives_back_what_was_encoded(kind: type[Method], blobs: Blobs) -> None:
    learner = learned(kind, blobs)
    shapes = learner.network.shapes
    before: dict[str, Change] = {}
    for state in learner.bank:
        for of in {type(change) for change in state.changes.values()}:
            some = {name: change for name, change in state.changes.items() if type(change) is of}
            earlier = {name: change for name, change in before.items() if type(change) is of and name in some}
            tensors, relative = of.encode(some, earlier)
            rest = {name: shapes[name] for name in some if name in shapes}
            back = of.decode(tensors, shapes, {} if of.parts else rest, earlier if relative else {})
            assert list(back) == list(some)
            for name, change in some.items():
                weight = learner.network.shared(name, change.shape)
                assert torch.equal(back[name].applied(weight), change.applied(weight))
                assert torch.equal(back[name].used(), change.used())
                assert back[name].shape == change.shape
        before = dict(state.changes)


@rows
def test_a_mixture_is_the_sum_of_what_is_applied(kind: type[Method], blobs: Blobs) -> None:
    learner = learned(kind, blobs)
    for name, of, some in changes(learner):
        weight = learner.network.weights[name]
        for alpha in ([0.5, -2.0, 0.25], [1 / 3] * 3):
            coefficients = alpha[: len(some)]
            expected = sum(a * c.applied(weight).double() for a, c in zip(coefficients, some, strict=True))
            assert isinstance(expected, Tensor)
            torch.testing.assert_close(of.mix(weight, some, coefficients).double(), expected, rtol=1e-5, atol=1e-6)


@rows
def test_a_mixture_of_one_task_is_the_task(kind: type[Method], blobs: Blobs) -> None:
    learner = learned(kind, blobs)
    superposition = Superposition(learner.network, list(learner.bank))
    for number in range(3):
        mixed = superposition.effective(torch.eye(3)[number])
        for name, value in superposition.member(number).items():
            assert torch.equal(mixed[name], value)


@rows
def test_products_are_the_derivative_in_the_coefficients(kind: type[Method], blobs: Blobs) -> None:
    """By finite differences of a function of the mixture, and by autograd, in float64."""
    check_products(learned(kind, blobs))


@pytest.mark.parametrize("method", [SupSup(Threshold(-1.0)), Individual(), Sequential(), SignedMasks()], ids=repr)
def test_products_of_a_single_number_are_so_too(method: Method, blobs: Blobs) -> None:
    """They ended in an error of torch."""
    network = Network(Scaled(), RandomBase(2), select=["scale", "first.weight", "last.weight"])
    learner = Learner(network, method=method, training=Training(10, 12))
    for name in "abc":
        learner.learn(blobs(name))
    check_products(learner)
    inputs = blobs("a").train.inputs[:4]
    each = learner.infer(inputs).evidence
    torch.testing.assert_close(each, torch.cat([learner.infer(x[None], together=True).evidence for x in inputs]))


class Scaled(nn.Module):
    """A network with a parameter of no dimension."""

    def __init__(self) -> None:
        super().__init__()
        self.scale, self.first, self.last = nn.Parameter(torch.ones(())), nn.Linear(8, 12), nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.first(x).relu() * self.scale)


def check_products(learner: Learner) -> None:
    random = torch.Generator().manual_seed(1)
    for name, of, some in changes(learner):
        weight = learner.network.weights[name]
        gradients = torch.randn(2, *weight.shape, generator=random)
        products = of.products(weight, gradients, some)
        stacked = torch.stack([change.applied(weight).double() for change in some])
        alpha = torch.full((len(some),), 0.3, dtype=torch.float64, requires_grad=True)
        for row, gradient in zip(products, gradients, strict=True):
            value = (torch.einsum("k,k...->...", alpha, stacked) * gradient).sum()
            (expected,) = torch.autograd.grad(value, alpha)
            torch.testing.assert_close(row.double(), expected, rtol=1e-4, atol=1e-4)
            listed = of.listed(weight, gradient, some)
            torch.testing.assert_close(listed.double(), expected, rtol=1e-4, atol=1e-4)
            for n in range(len(some)):
                step = [0.3] * len(some)
                step[n] += 1e-2
                moved = of.mix(weight, some, step) - of.mix(weight, some, [0.3] * len(some))
                assert float((moved.double() * gradient).sum()) / 1e-2 == pytest.approx(
                    float(expected[n]), rel=1e-2, abs=1e-2
                )


@rows
def test_an_index_looks_up_the_same_sums(kind: type[Method], blobs: Blobs) -> None:
    learner = learned(kind, blobs)
    random = torch.Generator().manual_seed(2)
    for name, of, some in changes(learner):
        weight = learner.network.weights[name]
        places = torch.randperm(weight.numel(), generator=random)[:9]
        gradient = torch.randn(9, generator=random)
        found = of.index(weight, some).products(places, gradient)
        expected = torch.stack([(change.applied(weight).flatten()[places] * gradient).sum() for change in some])
        # An index may round each term, also those that a sparse mask leaves out of its sum.
        terms = (weight.flatten()[places] * gradient).abs().sum() + expected.abs().max() + 1e-3
        torch.testing.assert_close(found, expected, rtol=0.02, atol=0.02 * float(terms))


@rows
def test_what_is_not_used_does_not_matter(kind: type[Method], blobs: Blobs) -> None:
    learner = learned(kind, blobs)
    for name, _, some in changes(learner):
        weight = learner.network.weights[name]
        for change in some:
            other = torch.where(change.used(), weight, torch.full_like(weight, 7.0))
            assert torch.equal(change.applied(other), change.applied(weight))
            assert change.nbytes >= 0
