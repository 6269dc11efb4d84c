"""Which layers are masked: those of torch that hold matrices, and how one is told of the others."""

import warnings
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune

from supermasks import Examples, Learner, Network, Task
from supermasks.anatomy import dissect
from supermasks.bases import PretrainedBase, RandomBase
from supermasks.errors import SupermasksWarning
from supermasks.masks import TopK
from supermasks.methods import ExSSNeT
from supermasks.own_copy import settle_weights
from supermasks.training import Adam, Training

Blobs = Callable[..., Task]
TRAINING = Training(40, 16, Adam(1e-2))


class Recurrent(nn.Module):
    """Reads a sequence, and answers from the last state."""

    def __init__(self, layer: nn.RNNBase) -> None:
        super().__init__()
        self.rnn = layer
        self.fc = nn.LazyLinear(6)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.rnn(x.transpose(1, 2))[0][:, -1])


class Cells(nn.Module):
    def __init__(self, cell: nn.RNNCellBase) -> None:
        super().__init__()
        self.cell, self.fc = cell, nn.Linear(12, 6)

    def forward(self, x: Tensor) -> Tensor:
        state = None
        for step in x.unbind(dim=2):
            state = self.cell(step) if state is None else self.cell(step, state)
        return self.fc(state[0] if isinstance(state, tuple) else state)


class Pairs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.bilinear, self.fc = nn.Bilinear(3, 3, 16), nn.Linear(16, 6)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.bilinear(x[..., 0], x[..., 1]).relu())


def transposed(kind: Callable[..., nn.Module], dims: int, **settings: int) -> nn.Module:
    pool = (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d)[dims - 1](1)
    shape = nn.Unflatten(2, (5,)) if dims == 1 else nn.Unflatten(2, (5, 1))
    return nn.Sequential(shape, kind(4, 16, 2, **settings), nn.ReLU(), pool, nn.Flatten(), nn.Linear(16, 6))


def gpt2_layer() -> nn.Module:
    pytorch_utils = pytest.importorskip("transformers.pytorch_utils")
    layer = pytorch_utils.Conv1D(32, 20)
    return nn.Sequential(nn.Flatten(), layer, nn.ReLU(), nn.Linear(32, 6))


def parametrized(wrap: Callable[[nn.Module], nn.Module]) -> nn.Module:
    return nn.Sequential(nn.Flatten(), wrap(nn.Linear(20, 32)), nn.ReLU(), nn.Linear(32, 6))


def pruned_rnn() -> nn.Module:
    layer = nn.GRU(4, 12, batch_first=True)
    prune.random_unstructured(layer, "weight_hh_l0", 0.2)
    return Recurrent(layer)


NETWORKS: dict[str, tuple[Callable[[], nn.Module], Sequence[int], Sequence[str]]] = {
    "lstm": (
        lambda: Recurrent(nn.LSTM(4, 12, num_layers=2, batch_first=True, bidirectional=True)),
        (4, 5),
        [f"rnn.weight_{kind}_l{n}{way}" for n in (0, 1) for way in ("", "_reverse") for kind in ("ih", "hh")],
    ),
    "projected lstm": (
        lambda: Recurrent(nn.LSTM(4, 12, batch_first=True, proj_size=3)),
        (4, 5),
        ["rnn.weight_ih_l0", "rnn.weight_hh_l0", "rnn.weight_hr_l0"],
    ),
    "gru": (lambda: Recurrent(nn.GRU(4, 12, batch_first=True)), (4, 5), ["rnn.weight_ih_l0", "rnn.weight_hh_l0"]),
    "rnn": (lambda: Recurrent(nn.RNN(4, 12, batch_first=True)), (4, 5), ["rnn.weight_ih_l0", "rnn.weight_hh_l0"]),
    "lstm cell": (lambda: Cells(nn.LSTMCell(4, 12)), (4, 5), ["cell.weight_ih", "cell.weight_hh"]),
    "gru cell": (lambda: Cells(nn.GRUCell(4, 12)), (4, 5), ["cell.weight_ih", "cell.weight_hh"]),
    "transposed 1d": (lambda: transposed(nn.ConvTranspose1d, 1), (4, 5), ["1.weight"]),
    "transposed 2d": (lambda: transposed(nn.ConvTranspose2d, 2, groups=2), (4, 5), ["1.weight"]),
    "bilinear": (Pairs, (3, 2), ["bilinear.weight"]),
    "gpt-2": (gpt2_layer, (4, 5), ["1.weight"]),
    "weight norm": (
        lambda: parametrized(parametrizations.weight_norm),
        (4, 5),
        ["1.weight"],
    ),
    "spectral norm": (
        lambda: parametrized(parametrizations.spectral_norm),
        (4, 5),
        ["1.weight"],
    ),
    "orthogonal": (lambda: parametrized(parametrizations.orthogonal), (4, 5), ["1.weight"]),
    "pruned gru": (pruned_rnn, (4, 5), ["rnn.weight_hh_l0", "rnn.weight_ih_l0"]),
}


def made(name: str) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = NETWORKS[name][0]()
        module(torch.randn(2, *NETWORKS[name][1]))  # gives lazy layers their shape
    return module


@pytest.mark.parametrize("method", [None, ExSSNeT(TopK(0.5))], ids=["SupSup", "ExSSNeT"])
@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@pytest.mark.parametrize("name", NETWORKS)
def test_its_weights_are_masked_and_no_task_changes_another(name: str, method: ExSSNeT | None, blobs: Blobs) -> None:
    module, shape = made(name), NETWORKS[name][1]
    learner = Learner(module, method=method, training=TRAINING)
    assert set(NETWORKS[name][2]) < set(learner.network.weights)
    inputs = blobs("a", 3, shape).train.inputs
    assert isinstance(inputs, Tensor)
    learner.learn(blobs("a", 3, shape))
    before = learner.network.logits(inputs, learner.bank["a"])
    learner.learn(blobs("b", 3, shape))
    assert torch.equal(learner.network.logits(inputs, learner.bank["a"]), before)
    assert torch.equal(learner.export("a")(inputs), before)
    assert learner.accuracy(blobs("a", 3, shape).train, "a") > 0.5  # a third by chance
    each = learner.infer(inputs[:12]).evidence
    alone = torch.cat([learner.infer(one[None]).evidence for one in inputs[:12]])
    torch.testing.assert_close(each, alone, rtol=1e-3, atol=1e-5)


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@pytest.mark.parametrize("name", NETWORKS)
def test_a_mask_does_what_zeros_in_the_module_do(name: str) -> None:
    """Against the user's own module, with the weights that the mask drops set to 0."""
    module, rng = made(name).eval(), torch.Generator().manual_seed(1)
    network = Network(module, PretrainedBase("mine"))
    settle_weights(module)
    masks = {n: torch.rand(s, generator=rng) < 0.6 for n, s in network.shapes.items()}
    inputs = torch.randn(5, *NETWORKS[name][1], generator=rng)
    effective = {n: weight * masks[n] for n, weight in network.weights.items()}
    with torch.no_grad():
        got = network.forward(inputs, effective)
        assert not torch.allclose(got, module(inputs))
        parameters = dict(module.named_parameters())
        for n, mask in masks.items():
            parameters[n].mul_(mask)
        torch.testing.assert_close(got, module(inputs))


@pytest.mark.parametrize(
    ("layer", "turned"),
    [
        (nn.ConvTranspose2d(3, 5, 2), (5, 3, 2, 2)),
        (nn.Conv2d(3, 5, 2), None),
        (nn.Bilinear(3, 4, 5), None),
        (nn.LSTM(3, 5), None),
    ],
)
def test_random_weights_are_as_large_as_what_comes_in_asks_for(
    layer: nn.Module, turned: tuple[int, ...] | None
) -> None:
    """`sqrt(2 / fan_in)`: of a transposed convolution what comes in stands first in the shape."""
    for name, weight in Network(nn.Sequential(layer, nn.Linear(1, 1)), RandomBase(0)).weights.items():
        if name.startswith("0.") and weight.numel() > 1:
            shape = turned or tuple(weight.shape)
            expected = np.float32(np.sqrt(2 / np.prod(shape[1:])))
            torch.testing.assert_close(weight.abs(), torch.full_like(weight, float(expected)))


class Own(nn.Module):
    """A matrix that no layer of torch has."""

    def __init__(self, rows: int, like_linear: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(rows, 8) / 8)

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight.T


def share(rows: int) -> nn.Module:
    return nn.Sequential(nn.Linear(8, 8), nn.ReLU(), Own(rows), nn.LazyLinear(6))


def test_weights_that_are_never_masked_are_pointed_out_with_their_share() -> None:
    module = share(32)
    module(torch.zeros(1, 8))
    with pytest.warns(SupermasksWarning, match=r"256 of 512 weights \(50%\) are never masked.*those of Own"):
        network = Network(module, RandomBase(0))
    assert "2.weight" not in network.weights
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Network(module, RandomBase(0), select=["0.weight", "2.weight", "3.weight"])
        Network(module, RandomBase(0), select=["0.weight"])  # who chooses knows


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8])
def test_weights_of_integers_stay_as_they_are(dtype: torch.dtype) -> None:
    class Quantised(nn.Linear):
        def __init__(self) -> None:
            super().__init__(8, 64)
            self.weight = nn.Parameter(torch.ones(64, 8, dtype=dtype), requires_grad=False)

        def forward(self, input: Tensor) -> Tensor:
            return nn.functional.linear(input, self.weight.float(), self.bias)

    with pytest.warns(SupermasksWarning, match="never masked"):
        network = Network(nn.Sequential(Quantised(), nn.Linear(64, 6)), RandomBase(0))
    assert list(network.weights) == ["1.weight"]
    assert torch.equal(network.constants["0.weight"], torch.ones(64, 8, dtype=dtype))


# What a layer means, a random base leaves as it is.


class Padded(nn.Module):
    def __init__(self, kind: str) -> None:
        super().__init__()
        self.out = nn.Linear(16, 10, bias=False)
        self.embedding = (
            nn.EmbeddingBag(10, 16, padding_idx=3) if kind == "bag" else nn.Embedding(10, 16, padding_idx=3)
        )
        if kind == "tied":
            self.embedding.weight = self.out.weight

    def forward(self, ids: Tensor) -> Tensor:
        hidden = self.embedding(ids)
        return self.out(hidden if hidden.dim() == 2 else hidden.sum(dim=1))


@pytest.mark.parametrize("kind", ["embedding", "bag", "tied"])
def test_padding_counts_as_nothing_over_random_weights(kind: str, blobs: Blobs) -> None:
    task = blobs("a", 3, (4,))
    ids = torch.cat([4 + task.train.targets[:, None] + torch.arange(3), torch.full((len(task.train), 3), 3)], dim=1)
    learner = Learner(Padded(kind), training=TRAINING)
    learner.learn(Task("a", task.classes, Examples(ids, task.train.targets)))
    assert not learner.network.weights["out.weight" if kind == "tied" else "embedding.weight"][3].any()
    exported = learner.export("a")
    if kind != "bag":  # which takes the mean
        torch.testing.assert_close(exported(ids), exported(ids[:, :3]))


def test_banks_of_random_padding_are_still_read() -> None:
    from supermasks.bases import base_from_recipe

    recipe = {"type": "RandomBase", "seed": 3, "initialisation": "kaiming_normal", "density": 1.0}
    earlier, now = base_from_recipe(recipe), RandomBase(3, "kaiming_normal")
    weights = [Network(Padded("embedding"), base).weights["embedding.weight"] for base in (earlier, now)]
    assert weights[0][3].all()
    assert not weights[1][3].any()
    rows = [n for n in range(10) if n != 3]
    assert torch.equal(weights[0][rows], weights[1][rows])


class Positions(nn.Module):
    """A table that is frozen, since it means something."""

    def __init__(self) -> None:
        super().__init__()
        angles = torch.arange(5)[:, None] / 10.0 ** torch.arange(8)
        self.table = nn.Embedding.from_pretrained(angles.sin())  # frozen
        self.blur = nn.Conv1d(1, 1, 3, bias=False, padding=1)
        self.blur.weight = nn.Parameter(torch.tensor([[[0.25, 0.5, 0.25]]]), requires_grad=False)
        self.first, self.fc = nn.Linear(8, 32), nn.Linear(32, 6)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.first(self.blur(x[:, None])[:, 0] + self.table.weight.mean(dim=0)).relu())


@pytest.mark.parametrize("name", ["weight norm", "spectral norm", "orthogonal", "pruned gru"])
def test_what_the_module_has_computed_keeps_its_value_over_random_weights(name: str) -> None:
    module, computed = made(name).eval(), NETWORKS[name][2][0]
    network = Network(module, RandomBase(0))
    layer, _, short = computed.rpartition(".")
    assert torch.equal(network.weights[computed], getattr(module.get_submodule(layer), short).detach())
    assert computed in network.kept


def test_what_the_module_has_frozen_keeps_its_value_over_random_weights(tmp_path: object) -> None:
    module = Positions()
    network = Network(module, RandomBase(0))
    for name in ("table.weight", "blur.weight"):
        assert torch.equal(network.weights[name], dict(module.named_parameters())[name])
        assert name in network.kept
    assert not torch.equal(network.weights["first.weight"], module.first.weight)
    frozen = Network(Positions().requires_grad_(False), RandomBase(0))  # where all are frozen, none of them is special
    assert torch.equal(frozen.weights["first.weight"], network.weights["first.weight"])
    assert not torch.equal(frozen.weights["table.weight"], module.table.weight)
    # A bank says which values it has kept.
    again = Network(Positions().requires_grad_(False), RandomBase(0), kept=network.kept)
    assert again.fingerprint == network.fingerprint


def test_the_parts_of_a_recurrent_network_in_the_summary() -> None:
    parts = {part.name: part.role for part in dissect(nn.Sequential(nn.LSTM(4, 6)))}
    assert parts == {
        "0.weight_ih_l0": "masked",
        "0.weight_hh_l0": "masked",
        "0.bias_ih_l0": "dense",
        "0.bias_hh_l0": "dense",
    }
