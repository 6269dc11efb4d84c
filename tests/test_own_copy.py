"""Modules that `copy.deepcopy` refuses, or copies in a way that cannot be written to: copied, or refused by name."""

import copy
import io
import pickle
import threading
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm

from supermasks import Learner, Network, Task
from supermasks.bases import PretrainedBase, RandomBase
from supermasks.errors import UnsupportedModuleError
from supermasks.own_copy import own_copy
from supermasks.training import Adam, Training

Blobs = Callable[..., Task]
TRAINING = Training(40, 16, Adam(1e-2))


def mlp() -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 6))


def pruned() -> nn.Module:
    net = mlp()
    prune.random_unstructured(net[0], "weight", 0.3)
    return net


def globally_pruned() -> nn.Module:
    net = mlp()
    prune.global_unstructured([(net[0], "weight"), (net[2], "weight")], prune.L1Unstructured, amount=0.4)
    return net


def old_weight_norm() -> nn.Module:
    net = mlp()
    weight_norm(net[0])
    return net


def old_spectral_norm() -> nn.Module:
    net = mlp()
    spectral_norm(net[2])
    return net


def used_before() -> nn.Module:
    """Holds an activation with its graph, in a list and in a dictionary."""
    net = mlp()
    activation = net[0](torch.ones(2, 8))
    net.seen, net.all_seen = [activation], {"first": (activation, activation.relu())}
    return net


@pytest.mark.filterwarnings("ignore:.*weight_norm.*deprecated:FutureWarning")
@pytest.mark.parametrize("make", [pruned, globally_pruned, old_weight_norm, old_spectral_norm, used_before])
def test_computed_tensors_are_copied_as_values(make: Callable[[], nn.Module], blobs: Blobs) -> None:
    module = make()
    if make is not old_spectral_norm:  # whose weight is computed at the first call
        with pytest.raises(RuntimeError, match="deepcopy"):
            copy.deepcopy(module)
    inputs = torch.randn(5, 8, generator=torch.Generator().manual_seed(0))
    expected = module.eval()(inputs).detach()
    torch.testing.assert_close(own_copy(module).eval()(inputs), expected)
    learner = Learner(Network(module, PretrainedBase("mine")), training=TRAINING)
    for name in ("a", "b"):
        learner.learn(blobs(name))
    assert learner.accuracy(blobs("a").train, "a") > 0.5  # a third by chance
    logits = learner.network.logits(inputs, learner.bank["a"])
    assert torch.equal(learner.export("a")(inputs), logits)
    assert torch.equal(pickle.loads(pickle.dumps(learner.network)).logits(inputs, learner.bank["a"]), logits)
    assert torch.equal(module(inputs), expected)  # the user's own stays as it is


@pytest.mark.filterwarnings("ignore:.*weight_norm.*deprecated:FutureWarning")
@pytest.mark.parametrize("make", [pruned, old_weight_norm])
def test_weights_that_were_pruned_stay_pruned_under_a_mask(make: Callable[[], nn.Module], blobs: Blobs) -> None:
    module = make()
    learner = Learner(Network(module, PretrainedBase("mine")), training=TRAINING)
    learner.learn(blobs("a"))
    exported = learner.export("a")
    torch.testing.assert_close(exported[0].weight, module[0].weight * learner.bank["a"].mask["0.weight"])
    if make is pruned:
        assert not exported[0].weight[module[0].weight_mask == 0].any()


class Holding(nn.Module):
    def __init__(self, value: object) -> None:
        super().__init__()
        self.net = mlp()
        self.held = value

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class NotCopied:
    def __deepcopy__(self, memo: object) -> object:
        raise ValueError("one of a kind")


def generator() -> object:
    return (n for n in range(3))


@pytest.mark.parametrize("make", [threading.Lock, generator, NotCopied, lambda: [threading.Lock()]])
def test_an_attribute_that_cannot_be_copied_is_named(make: Callable[[], object]) -> None:
    with pytest.raises(UnsupportedModuleError, match="its attribute 'held'"):
        Network(Holding(make()), RandomBase(0))
    with pytest.raises(UnsupportedModuleError, match=r"its attribute '1\.held'"):
        Network(nn.Sequential(mlp(), Holding(make())), RandomBase(0))


class Buffered(nn.Module):
    """Blurs by a kernel whose rows share their memory."""

    kernel: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("kernel", (torch.tensor([[1.0, 2.0, 1.0]]) / 4).expand(2, 1, 3))
        self.shift = nn.Parameter(torch.ones(1).expand(6))
        self.fc = nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(nn.functional.conv1d(x, self.kernel, groups=2).mean(1) + self.shift)


def test_entries_that_share_memory_keep_their_values(blobs: Blobs) -> None:
    for base in (RandomBase(0), PretrainedBase("mine")):
        learner = Learner(Network(Buffered(), base), training=TRAINING)
        learner.learn(blobs("a", 3, (2, 8)))
        exported = learner.export("a")
        assert torch.equal(exported.kernel, Buffered().kernel)
        assert torch.equal(exported.shift, torch.ones(6))


def test_two_parameters_in_one_memory_are_two(blobs: Blobs) -> None:
    module = nn.Sequential(nn.Linear(8, 8, bias=False), nn.ReLU(), nn.Linear(8, 8, bias=False))
    module[2].weight = nn.Parameter(module[0].weight.data)
    network = Network(module, RandomBase(0))
    learner = Learner(network, training=TRAINING)
    learner.learn(blobs("a"))
    values = learner.network.effective(learner.bank["a"])
    inputs = torch.eye(8)
    torch.testing.assert_close(
        learner.network.logits(inputs, learner.bank["a"]),
        (inputs @ values["0.weight"].T).relu() @ values["2.weight"].T,
    )


@pytest.mark.parametrize("kind", [nn.Embedding, nn.EmbeddingBag])
def test_gradients_of_embeddings_are_dense(kind: type[nn.Module], blobs: Blobs) -> None:
    embedding = kind(9, 12, sparse=True)
    module = nn.Sequential(embedding, *([nn.Flatten()] if kind is nn.Embedding else []), nn.LazyLinear(6))
    module(torch.zeros(2, 4, dtype=torch.int64))
    task = blobs("a", 3, (4,))
    ids = Task("a", task.classes, type(task.train)(task.train.targets[:, None] + torch.arange(4), task.train.targets))
    learner = Learner(module, training=TRAINING)
    learner.learn(ids)
    assert learner.accuracy(ids.train, "a") > 0.5
    assert embedding.sparse  # the user's own stays as it is


def test_what_has_no_data_or_no_python_is_refused() -> None:
    with torch.device("meta"):
        module = mlp()
    for base in (RandomBase(0), PretrainedBase("mine")):
        with pytest.raises(UnsupportedModuleError, match="meta device"):
            Network(module, base)
    buffer = nn.Sequential(mlp(), nn.BatchNorm1d(6))
    buffer[1].running_mean = torch.zeros(6, device="meta")
    with pytest.raises(UnsupportedModuleError, match=r"'1\.running_mean' has no data.*meta device"):
        Network(buffer, RandomBase(0))
    with pytest.warns(DeprecationWarning, match="trace"):
        scripted = torch.jit.trace(mlp(), torch.zeros(2, 8))
    with pytest.raises(UnsupportedModuleError, match="TorchScript"):
        Network(scripted, RandomBase(0))
    sparse = mlp()
    sparse[0].weight = nn.Parameter(torch.eye(16, 8).to_sparse())
    with pytest.raises(UnsupportedModuleError, match=r"'0\.weight' must be a dense tensor, got torch.sparse_coo"):
        Network(sparse, RandomBase(0))
    with pytest.raises(UnsupportedModuleError, match=r"'weight' must be real, got torch.complex64"):
        Network(nn.Linear(8, 4, dtype=torch.complex64), RandomBase(0))


def test_a_parametrized_module_is_copied_and_sent(blobs: Blobs) -> None:
    module = nn.Sequential(parametrizations.weight_norm(nn.Linear(8, 16)), nn.ReLU(), nn.Linear(16, 6))
    learner = Learner(module, training=TRAINING)
    learner.learn(blobs("a"))
    assert list(learner.network.weights) == ["0.weight", "2.weight"]
    inputs = torch.eye(8)
    assert torch.equal(learner.export("a")(inputs), learner.network.logits(inputs, learner.bank["a"]))
    state = io.BytesIO()
    torch.save(learner.export("a").state_dict(), state)
    again = mlp()  # without the parametrization: the weight is what it has computed
    again.load_state_dict(torch.load(io.BytesIO(state.getvalue())))
    torch.testing.assert_close(again(inputs), learner.network.logits(inputs, learner.bank["a"]))
