"""Networks that cut, sort, pad or route their batch: the evidence of each input is that of the input alone."""

from collections.abc import Callable

import pytest
import torch
from states import masked_state
from torch import Tensor, nn

from supermasks import Network
from supermasks.bases import RandomBase
from supermasks.inference import OneShot
from supermasks.masks import Mask
from supermasks.superposition import Superposition


def layers() -> nn.Sequential:
    return nn.Sequential(nn.Linear(6, 10, bias=False), nn.ReLU(), nn.Linear(10, 8, bias=False))


class Batched(nn.Module):
    """Hands a batch to its layers in a way of its own."""

    def __init__(self, way: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.net, self.way = layers(), way

    def forward(self, inputs: Tensor) -> Tensor:
        return self.way(self.net, inputs)


def in_parts(net: nn.Module, inputs: Tensor) -> Tensor:
    return torch.cat([net(part) for part in inputs.split(4)])


def in_order(net: nn.Module, inputs: Tensor) -> Tensor:
    order = inputs[:, 0].argsort()
    return net(inputs[order])[order.argsort()]


def positive_first(net: nn.Module, inputs: Tensor) -> Tensor:
    """Leaves a batch in its order until an input comes whose first number is negative."""
    order = (inputs[:, 0] < 0).to(torch.int64).argsort(stable=True)
    return net(inputs[order])[order.argsort()]


def two_swapped(net: nn.Module, inputs: Tensor) -> Tensor:
    order = torch.arange(len(inputs))
    if len(inputs) > 5:
        order[[1, 5]] = order[[5, 1]]
    return net(inputs[order])[order]


def padded(net: nn.Module, inputs: Tensor) -> Tensor:
    rows = -(-len(inputs) // 8) * 8
    return net(torch.cat([inputs, inputs.new_zeros(rows - len(inputs), inputs.shape[1])]))[: len(inputs)]


def once_each(net: nn.Module, inputs: Tensor) -> Tensor:
    """Computes inputs that occur twice only once."""
    different, places = inputs.unique(dim=0, return_inverse=True)
    return net(different)[places]


def turned(net: nn.Module, inputs: Tensor) -> Tensor:
    return net(inputs.flip(0)).flip(0)


def large_batches_apart(net: nn.Module, inputs: Tensor) -> Tensor:
    return net(inputs if len(inputs) < 20 else 2 * inputs)


class Experts(nn.Module):
    """Routes each input to one of two experts."""

    def __init__(self) -> None:
        super().__init__()
        self.experts = nn.ModuleList(layers() for _ in range(2))

    def forward(self, inputs: Tensor) -> Tensor:
        gate, logits = inputs[:, 0] > 0.5, inputs.new_zeros(len(inputs), 8)
        for number, expert in enumerate(self.experts):
            rows = (gate == bool(number)).nonzero().flatten()
            if len(rows):
                logits = logits.index_copy(0, rows, expert(inputs[rows]))
        return logits


WAYS = [in_parts, in_order, positive_first, two_swapped, padded, once_each, turned]


def superposition_of(module: nn.Module) -> Superposition:
    network, rng = Network(module, RandomBase(0)), torch.Generator().manual_seed(0)
    masks = [{n: torch.rand(s, generator=rng) < 0.5 for n, s in network.shapes.items()} for _ in range(4)]
    return Superposition(
        network, [masked_state(str(i), (0, 1, 2), (6,), Mask.pack(mask)) for i, mask in enumerate(masks)]
    )


def batches(count: int) -> tuple[Tensor, Tensor]:
    """Return inputs whose first number is positive, and others of both signs with two that are the same."""
    rng = torch.Generator().manual_seed(1)
    mixed = torch.randn(count, 6, generator=rng)
    mixed[-1] = mixed[0]
    return torch.randn(count, 6, generator=rng).abs(), mixed


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("count", [3, 9, 200])  # below, and above, the number of powers that tell rows apart
@pytest.mark.parametrize("module", [*map(Batched, WAYS), Experts()], ids=[*(way.__name__ for way in WAYS), "experts"])
def test_the_evidence_of_an_input_is_that_of_the_input_alone(module: nn.Module, count: int, exact: bool) -> None:
    asked_before, inputs = batches(count)
    superposition, inference = superposition_of(module), OneShot(exact=exact)
    inference.infer_each(superposition, asked_before)
    each = inference.infer_each(superposition, inputs).evidence
    for row in {0, 1, count // 2, count - 1}:
        alone = inference.infer(superposition, inputs[row : row + 1]).evidence[0]
        torch.testing.assert_close(each[row], alone, rtol=1e-4, atol=1e-6)
    assert float(each.abs().max()) > 1e-3


def test_each_new_size_of_batch_is_looked_at() -> None:
    """Of twenty inputs and more the network answers otherwise, so that these are asked about one by one."""
    superposition, inference = superposition_of(Batched(large_batches_apart)), OneShot()
    for count in (8, 20, 8, 30):
        inputs = batches(count)[1]
        each = inference.infer_each(superposition, inputs).evidence
        alone = torch.cat([inference.infer(superposition, one[None]).evidence for one in inputs])
        torch.testing.assert_close(each, alone, rtol=1e-4, atol=1e-6)
    assert superposition.sizes_by_layers == {8: True, 20: False, 30: False}


def test_plain_layers_are_still_taken_apart() -> None:
    superposition = superposition_of(layers())
    for count in (2, 9, 200):
        OneShot().infer_each(superposition, batches(count)[1])
    assert superposition.by_layers is True
    # Of a few inputs the weight gradients are formed, of more the layers are called again.
    assert set(superposition.sizes_by_layers.values()) == {True}
