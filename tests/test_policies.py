"""What is masked, what becomes of statistics, and which layer each task has of its own."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from states import dense
from torch import Tensor, nn
from torch.nn import functional

from supermasks import BankFolder, Examples, Learner, Network, Task
from supermasks.bases import PretrainedBase, RandomBase, load_checkpoint, read_checkpoint
from supermasks.errors import (
    BaseMismatchError,
    ConfigError,
    InputError,
    TaskError,
    TrainingError,
    UnsupportedModuleError,
)
from supermasks.inference import Binary, Exhaustive, ListThenTry, OneShot, TwoShot
from supermasks.masks import Threshold, TopK
from supermasks.methods import ExSSNeT, Individual, Lesson, SupSup
from supermasks.nets import fully_connected
from supermasks.normalisation import NormPolicy
from supermasks.scores import Constant, Past
from supermasks.streams import StreamLearner
from supermasks.training import Adam, Training
from supermasks.training.order import Order

Blobs = Callable[..., Task]
IMAGE = (1, 6, 6)
TRAINING = Training(60, 16, Adam(1e-2))


def inputs_of(task: Task) -> Tensor:
    assert isinstance(task.train.inputs, Tensor)
    return task.train.inputs


class Bilinear(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Parameter(torch.randn(6, 8)), nn.Parameter(torch.randn(6, 8))
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * (x @ self.left.T) * (x @ self.right.T)


# --- what is masked


@pytest.mark.parametrize(
    ("select", "masked"),
    [
        (None, ["0.weight", "3.weight", "8.weight"]),
        (["3.weight"], ["3.weight"]),
        (["[03].*"], ["0.weight", "3.weight"]),  # a pattern chooses among weights, so that no bias comes with it
        ([nn.Conv2d], ["0.weight", "3.weight"]),
        ([nn.Linear, "0.weight"], ["0.weight", "8.weight"]),
        (["8.weight", "8.bias"], ["8.weight", "8.bias"]),  # an exact name is taken at its word
        (["*"], ["0.weight", "3.weight", "8.weight"]),
    ],
)
def test_a_selection_says_what_is_masked(
    cnn: Callable[..., nn.Sequential], blobs: Blobs, select: list[str | type[nn.Module]] | None, masked: list[str]
) -> None:
    network = Network(cnn(8), RandomBase(0), select=select)
    assert list(network.weights) == masked
    learner = Learner(network, training=TRAINING)
    task = blobs("t", 2, IMAGE)
    learner.learn(task)
    assert list(learner.bank["t"].mask) == masked
    # The other weights are random as well, the same for every selection; they stay dense.
    whole = Network(cnn(8), RandomBase(0)).weights
    for name, value in whole.items():
        if name not in masked:
            assert torch.equal(network.constants[name], value)


def test_layers_of_ones_own_are_selected_by_type(blobs: Blobs) -> None:
    net = Bilinear()
    with pytest.raises(UnsupportedModuleError, match="nothing to mask"):
        Network(net, RandomBase(0))
    network = Network(net, RandomBase(0), select=[Bilinear])
    assert list(network.weights) == ["left", "right"]
    assert torch.equal(network.constants["scale"], torch.ones(1))
    learner = Learner(network, training=TRAINING)
    task = blobs("t", 3)
    learner.learn(task)
    state, x = learner.bank["t"], inputs_of(task)
    left, right = (network.weights[name] * state.mask[name] for name in ("left", "right"))
    torch.testing.assert_close(network.logits(x, state), (x @ left.T) * (x @ right.T))


@pytest.mark.parametrize("select", [["nothing"], ["1.*"], [nn.Conv3d], ["0.weight", "0.wait"]])
def test_a_selection_that_matches_nothing_is_an_error(cnn: Callable, select: list[str | type[nn.Module]]) -> None:
    with pytest.raises(ConfigError, match="each entry of select must match"):
        Network(cnn(8), RandomBase(0), select=select)


def test_tied_weights_are_masked_once(blobs: Blobs, tmp_path: Path) -> None:
    def build() -> nn.Module:
        net = nn.Sequential(nn.Linear(8, 8, bias=False), nn.ReLU(), nn.Linear(8, 8, bias=False))
        net[2].weight = net[0].weight
        return net

    learner = Learner(build(), training=TRAINING)
    assert list(learner.network.weights) == ["0.weight"]
    assert [part.tied for part in learner.network.parts] == [("2.weight",)]
    task = blobs("t", 3)
    learner.learn(task)
    w = learner.network.weights["0.weight"] * learner.bank["t"].mask["0.weight"]
    logits = learner.network.logits(inputs_of(task), learner.bank["t"])
    torch.testing.assert_close(logits, (inputs_of(task) @ w.T).clamp(min=0) @ w.T)
    learner.save(tmp_path / "bank")
    again = Learner.load(tmp_path / "bank", build())
    assert torch.equal(again.network.logits(inputs_of(task), again.bank["t"]), logits)


def test_the_summary_shows_densities_and_totals(cnn: Callable) -> None:
    network = Network(cnn(8), RandomBase(0), head="8")
    text = network.summary(TopK(0.25))
    assert "216 masked" not in text.splitlines()[1]
    assert text.splitlines()[-1] == "252 masked, 26 dense, 56 head, 22 buffer"
    assert all("0.2500" in line for line in text.splitlines() if line.split()[0] in ("0.weight", "3.weight"))
    assert "learned" in network.summary(Threshold())


@pytest.mark.parametrize("channels_last", [False, True])
def test_the_layout_of_memory_does_not_matter(cnn: Callable, blobs: Blobs, channels_last: bool) -> None:
    network = Network(cnn(8), RandomBase(0), channels_last=channels_last)
    learner, task = Learner(network, training=TRAINING), blobs("t", 2, IMAGE)
    learner.learn(task)
    plain = Network(cnn(8), RandomBase(0))
    ours, theirs = (each.logits(inputs_of(task), learner.bank["t"]) for each in (network, plain))
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    assert learner.accuracy(task.train, "t") > 0.8


# --- statistics


def batch_norm_net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(8, 12, bias=False), nn.BatchNorm1d(12, affine=False), nn.ReLU(), nn.Linear(12, 6))


def test_statistics_of_the_batch_are_used_and_nothing_is_stored(blobs: Blobs, tmp_path: Path) -> None:
    for net in (batch_norm_net(), nn.Sequential(nn.Linear(8, 12), nn.BatchNorm1d(12, track_running_stats=False))):
        learner = Learner(Network(net, RandomBase(0), norm="batch"), training=TRAINING)
        task = blobs("t", 3)
        learner.learn(task)
        state, x = learner.bank["t"], inputs_of(task)[:10]
        assert dict(state.buffers) == {}
        first = x @ (learner.network.weights["0.weight"] * state.mask["0.weight"]).T
        hidden = (first - first.mean(dim=0)) / (first.var(dim=0, unbiased=False) + 1e-5).sqrt()
        if len(net) > 2:
            last = learner.network.weights["3.weight"] * state.mask["3.weight"]
            hidden = hidden.clamp(min=0) @ last.T
        torch.testing.assert_close(learner.network.logits(x, state), hidden, rtol=1e-4, atol=1e-5)
        assert not torch.equal(learner.network.logits(x[:5], state), learner.network.logits(x, state)[:5])
        learner.save(tmp_path / str(len(net)))
        again = Learner.load(tmp_path / str(len(net)), net)
        assert again.network.norm == "batch"
        assert torch.equal(again.network.logits(x, again.bank["t"]), learner.network.logits(x, state))


def test_frozen_statistics_are_those_of_the_module_in_training_too(blobs: Blobs, tmp_path: Path) -> None:
    net = batch_norm_net()
    net[1].running_mean.uniform_(-1, 1)
    net[1].running_var.uniform_(0.5, 2)
    learner = Learner(Network(net, PretrainedBase("test"), norm="frozen"), training=TRAINING)
    task = blobs("t", 3)
    learner.learn(task)
    state, x = learner.bank["t"], inputs_of(task)[:10]
    assert dict(state.buffers) == {}
    effective = learner.network.effective(state)
    hidden = functional.linear(x, effective["0.weight"])
    hidden = (hidden - net[1].running_mean) / (net[1].running_var + 1e-5).sqrt()
    expected = functional.linear(hidden.clamp(min=0), effective["3.weight"], net[3].bias)
    torch.testing.assert_close(learner.network.logits(x, state), expected.detach(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(learner.network.forward(x, effective, training=True), learner.network.logits(x, state))
    learner.save(tmp_path / "bank")
    again = Learner.load(tmp_path / "bank", net)
    assert torch.equal(again.network.logits(x, again.bank["t"]), learner.network.logits(x, state))


def test_a_policy_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(ConfigError, match="per_task"):
        Network(batch_norm_net(), RandomBase(0), norm="none")  # pyright: ignore[reportArgumentType]


# --- heads


def test_each_task_has_a_head_for_its_own_number_of_classes(blobs: Blobs, tmp_path: Path) -> None:
    net = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))
    learner = Learner(Network(net, RandomBase(0), head="2"), training=TRAINING)
    tasks = [blobs("two", 2), blobs("seven", 7), blobs("again", 2)]
    logits: dict[str, Tensor] = {}
    for task in tasks:
        learner.learn(task)
        state = learner.bank[task.name]
        assert {name: tuple(value.shape) for name, value in dense(state).items()} == {
            "2.weight": (len(task.classes), 16),
            "2.bias": (len(task.classes),),
        }
        assert list(state.mask) == ["0.weight"]
        logits[task.name] = learner.network.logits(inputs_of(task), state)
        assert logits[task.name].shape[1] == len(task.classes)
        assert learner.accuracy(task.train, task.name) > 0.8
    for task in tasks:
        assert torch.equal(learner.network.logits(inputs_of(task), learner.bank[task.name]), logits[task.name])
    learner.save(tmp_path / "bank")
    again = Learner.load(tmp_path / "bank", nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3)))
    assert again.network.head == "2"
    for task in tasks:
        assert torch.equal(again.network.logits(inputs_of(task), again.bank[task.name]), logits[task.name])
    for inference in (OneShot(), TwoShot(), Binary(), Exhaustive(), ListThenTry(), ListThenTry(listed=2)):
        learner.inference = inference
        with pytest.raises(TaskError, match=r"heads of \[2, 7\]"):
            learner.predict(inputs_of(tasks[0]))


def test_tasks_with_heads_of_one_size_are_recognised(blobs: Blobs) -> None:
    """The gradient in alpha runs through the heads too: compared with finite differences of the dense mixture."""
    net = nn.Sequential(nn.Linear(8, 16, bias=False), nn.Tanh(), nn.Linear(16, 3))
    learner = Learner(Network(net, RandomBase(0), head="2"), training=TRAINING)
    for name in "abc":
        learner.learn(blobs(name, 3))
    x = inputs_of(blobs("b", 3))[:5]
    states = list(learner.bank)

    def entropy(alpha: Tensor) -> Tensor:
        mask = sum(a * s.mask["0.weight"].double() for a, s in zip(alpha, states, strict=True))
        hidden = torch.tanh(x.double() @ (learner.network.weights["0.weight"].double() * mask).T)
        weight, bias = (
            sum(a * dense(s)[f"2.{what}"].double() for a, s in zip(alpha, states, strict=True))
            for what in ("weight", "bias")
        )
        log_p = torch.log_softmax(hidden @ weight.T + bias, dim=1)  # pyright: ignore
        return -(log_p.exp() * log_p).sum(dim=1).mean()

    at, step = torch.full((3,), 1 / 3, dtype=torch.float64), 1e-6
    expected = [(entropy(at + step * e) - entropy(at - step * e)) / (2 * step) for e in torch.eye(3).double()]
    together = learner.infer(x, together=True).evidence[0]
    torch.testing.assert_close(-together.double(), torch.stack(expected), rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(learner.infer(x).evidence.mean(dim=0), together, rtol=1e-4, atol=1e-5)


def test_a_head_alone_is_enough(blobs: Blobs) -> None:
    """Separate heads over a random trunk (SupSup, Section 4.1): nothing is masked."""
    net = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 1))
    learner = Learner(Network(net, RandomBase(0), select=[], head="2"), training=TRAINING)
    task = blobs("t", 3)
    learner.learn(task)
    assert learner.bank["t"].nbytes() == {"masks": 0, "owned": 0, "dense": 4 * (64 * 3 + 3), "norm": 0, "router": 0}
    assert learner.accuracy(task.train, "t") > 0.9


@pytest.mark.parametrize("head", ["3", "0.weight", "nothing", "1"])
def test_a_head_must_be_a_linear_layer(head: str) -> None:
    with pytest.raises(ConfigError, match=r"\['0', '2'\]"):
        Network(nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3)), RandomBase(0), head=head)


def test_a_head_that_is_tied_is_refused() -> None:
    net = nn.Sequential(nn.Linear(8, 8, bias=False), nn.ReLU(), nn.Linear(8, 8, bias=False))
    net[2].weight = net[0].weight
    with pytest.raises(ConfigError, match="must not share its tensor"):
        Network(net, RandomBase(0), head="2")


# --- individually trained networks


@pytest.mark.parametrize("warm", [False, True])
def test_individual_networks_are_what_plain_training_makes(blobs: Blobs, warm: bool, tmp_path: Path) -> None:
    net = fully_connected([8, 16, 6])
    learner = Learner(net, method=Individual(warm), training=TRAINING)
    tasks = [blobs("a", 3), blobs("b", 3)]
    logits: dict[str, Tensor] = {}
    for task in tasks:
        learner.learn(task)
        logits[task.name] = learner.network.logits(inputs_of(task), learner.bank[task.name])
        assert learner.accuracy(task.train, task.name) > 0.9
        assert learner.bank[task.name].nbytes() == {
            "masks": 0,
            "owned": 0,
            "dense": 4 * (8 * 16 + 16 * 6),
            "norm": 0,
            "router": 0,
        }

    # The same by plain torch: the orders of data are those of the library, everything else is written out.
    from supermasks.training.order import Order

    weights = {name: value.clone() for name, value in learner.network.weights.items()}
    for task in tasks:
        if not warm:
            weights = {name: value.clone() for name, value in learner.network.weights.items()}
        leaves = [value.requires_grad_() for value in weights.values()]
        optimiser = torch.optim.Adam(leaves, lr=1e-2)
        order = Order.of(task.name, len(task.train), 16, seed=0)
        for _ in range(60):
            x, y = task.train.batch(order.next())
            loss = functional.cross_entropy(functional.linear(functional.linear(x, leaves[0]).relu(), leaves[1]), y)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        weights = dict(zip(weights, (leaf.detach().clone() for leaf in leaves), strict=True))
        for name, value in weights.items():
            torch.testing.assert_close(dense(learner.bank[task.name])[name], value, rtol=1e-4, atol=1e-5)
    for task in tasks:
        assert torch.equal(learner.network.logits(inputs_of(task), learner.bank[task.name]), logits[task.name])
    learner.save(tmp_path / "bank")
    again = Learner.load(tmp_path / "bank", fully_connected([8, 16, 6]))
    for task in tasks:
        assert torch.equal(again.network.logits(inputs_of(task), again.bank[task.name]), logits[task.name])


def test_individual_networks_are_superposed_too(blobs: Blobs) -> None:
    learner = Learner(fully_connected([8, 16, 6]), method=Individual(), training=TRAINING)
    for name in "ab":
        learner.learn(blobs(name, 3))
    x = inputs_of(blobs("a", 3))[:4]
    alone = torch.cat([learner.infer(one[None], together=True).evidence for one in x])
    torch.testing.assert_close(learner.infer(x).evidence, alone, rtol=1e-4, atol=1e-5)


# --- pretrained weights


def pretrained() -> nn.Module:
    torch.manual_seed(7)
    return nn.Sequential(nn.Linear(8, 16), nn.LayerNorm(16), nn.ReLU(), nn.Linear(16, 6))


def test_pretrained_weights_biases_and_scales_stay_as_they_are(blobs: Blobs, tmp_path: Path) -> None:
    module = pretrained()
    nn.init.uniform_(module[1].weight, 0.5, 2)
    learner = Learner(
        module, base=PretrainedBase("hub/model"), method=SupSup(Threshold(5e-3), Constant(1e-2)), training=TRAINING
    )
    for name, value in module.named_parameters():
        held = {**learner.network.weights, **learner.network.constants}[name]
        assert torch.equal(held, value)
    task = blobs("t", 3)
    learner.learn(task)
    state, x = learner.bank["t"], inputs_of(task)
    learner.save(tmp_path / "bank")
    logits = learner.network.logits(x, state)

    again = Learner.load(tmp_path / "bank", module)
    assert again.network.base == PretrainedBase("hub/model", learner.network.fingerprint)
    assert torch.equal(again.network.logits(x, again.bank["t"]), logits)
    # No weight of the backbone is stored.
    BankFolder(tmp_path / "bank").convert("shared")
    assert set((tmp_path / "bank").rglob("*.safetensors")) == {tmp_path / "bank" / "tasks" / "000000.safetensors"}

    with torch.no_grad():
        module[3].bias[0] += 1e-3
    with pytest.raises(BaseMismatchError) as caught:
        Learner.load(tmp_path / "bank", module)
    assert learner.network.fingerprint in str(caught.value)
    assert Network(module, PretrainedBase("hub/model")).fingerprint in str(caught.value)
    assert "hub/model" in str(caught.value)


def test_top_k_masks_over_pretrained_weights_keep_the_budget(blobs: Blobs) -> None:
    learner = Learner(pretrained(), base=PretrainedBase("p"), method=SupSup(TopK(0.5)), training=TRAINING)
    task = blobs("t", 3)
    learner.learn(task)
    assert learner.bank["t"].mask.counts() == {"0.weight": 64, "3.weight": 48}
    assert learner.accuracy(task.train, "t") > 0.8


def test_half_precision_weights_are_taken_as_float32(blobs: Blobs) -> None:
    module = pretrained().to(torch.bfloat16)
    learner = Learner(module, base=PretrainedBase("half"), training=TRAINING)
    assert torch.equal(learner.network.weights["0.weight"], module[0].weight.float())
    learner.learn(blobs("t", 3))
    assert module[0].weight.dtype == torch.bfloat16


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_checkpoints_are_read_into_a_copy(suffix: str, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    source = pretrained()
    path = tmp_path / f"model.{suffix}"
    save = save_file if suffix == "safetensors" else torch.save
    save(source.state_dict(), path)
    torch.manual_seed(1)
    module = nn.Sequential(nn.Linear(8, 16), nn.LayerNorm(16), nn.ReLU(), nn.Linear(16, 6))
    loaded = load_checkpoint(module, path)
    assert all(torch.equal(value, source.state_dict()[name]) for name, value in loaded.state_dict().items())
    assert not torch.equal(module[0].weight, loaded[0].weight)

    other = nn.Sequential(nn.Linear(8, 16), nn.LayerNorm(16), nn.ReLU(), nn.Linear(16, 3))
    with pytest.raises(BaseMismatchError, match="other shapes"):
        load_checkpoint(other, path)
    assert torch.equal(load_checkpoint(other, path, without="3")[0].weight, source[0].weight)
    with pytest.raises(BaseMismatchError, match="missing"):
        load_checkpoint(nn.Sequential(*other, nn.Linear(3, 3)), path, without="3")
    if suffix == "pt":
        torch.save({"state_dict": source.state_dict(), "epoch": 3}, path)
        assert read_checkpoint(path).keys() == source.state_dict().keys()


@pytest.mark.parametrize("name", ["model.pt", "model.safetensors"])
def test_what_is_no_checkpoint_is_an_error(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    with pytest.raises(BaseMismatchError):
        read_checkpoint(path)
    path.write_bytes(b"nonsense")
    with pytest.raises(BaseMismatchError):
        read_checkpoint(path)
    if name == "model.pt":
        torch.save([1, 2], path)
        with pytest.raises(BaseMismatchError, match="expected tensors by name"):
            read_checkpoint(path)


def test_a_network_has_its_base_already() -> None:
    with pytest.raises(ConfigError, match="base already"):
        Learner(Network(nn.Linear(2, 2), RandomBase(0)), base=RandomBase(1))


def test_inputs_of_another_type_are_refused(blobs: Blobs) -> None:
    learner = Learner(fully_connected([8, 6]), training=TRAINING)
    learner.learn(blobs("t", 3))
    with pytest.raises(InputError, match="float32"):
        learner.predict(torch.zeros(2, 8, dtype=torch.int64), task="t")


# --- statistics measured anew


def test_statistics_are_the_means_over_batches(cnn: Callable[..., nn.Sequential]) -> None:
    """Of the first layer by hand: mean and unbiased variance of what the convolution gives, averaged over batches."""
    network, rng = Network(cnn(8), RandomBase(0)), torch.Generator().manual_seed(0)
    batches = [torch.randn(5, *IMAGE, generator=rng) for _ in range(7)]
    effective = {**network.fresh_buffers(), **network.weights}
    before = {name: value.clone() for name, value in effective.items()}
    found = network.backbone.statistics(effective, batches)
    outputs = [functional.conv2d(batch, network.weights["0.weight"], padding=1) for batch in batches]
    mean = torch.stack([output.mean(dim=(0, 2, 3)) for output in outputs]).mean(dim=0)
    variance = torch.stack([output.transpose(0, 1).flatten(1).var(dim=1) for output in outputs]).mean(dim=0)
    torch.testing.assert_close(found["1.running_mean"], mean)
    torch.testing.assert_close(found["1.running_var"], variance)
    assert all(torch.equal(effective[name], value) for name, value in before.items())
    again = network.backbone.statistics(effective, batches)
    assert all(torch.equal(again[name], value) for name, value in found.items())  # momenta are put back
    frozen = Network(cnn(8), RandomBase(0), norm="frozen")
    kept = frozen.backbone.statistics({**frozen.fresh_buffers(), **frozen.weights}, batches)
    assert all(torch.equal(kept[name], value) for name, value in frozen.fresh_buffers().items())


@pytest.mark.parametrize("method", [SupSup(TopK(0.3)), ExSSNeT(TopK(0.3), precision="int4")], ids=repr)
def test_the_statistics_of_a_task_are_those_of_what_is_kept(
    method: SupSup, blobs: Blobs, cnn: Callable[..., nn.Sequential], tmp_path: Path
) -> None:
    task = blobs("t", 3, IMAGE)
    running, anew = (
        Learner(cnn(8), method=method, training=Training(60, 16, Adam(1e-2), statistics_batches=batches))
        for batches in (0, 6)
    )
    for learner in (running, anew):
        learner.learn(task)
    assert anew.bank["t"].mask == running.bank["t"].mask
    order = Order.of("t", len(task.train), 16, 0)
    batches = [task.train.batch(order.next())[0] for _ in range(6)]
    weight = anew.network.weights["0.weight"] * anew.bank["t"].mask["0.weight"]
    mean = torch.stack([functional.conv2d(b, weight, padding=1).mean(dim=(0, 2, 3)) for b in batches]).mean(dim=0)
    torch.testing.assert_close(anew.bank["t"].buffers["1.running_mean"], mean)
    assert not torch.allclose(running.bank["t"].buffers["1.running_mean"], mean)
    anew.save(tmp_path / "bank")
    loaded = Learner.load(tmp_path / "bank", cnn(8))
    assert loaded.training.statistics_batches == 6
    with pytest.raises(ConfigError, match="at least 0"):
        Training(statistics_batches=-1)


@pytest.mark.parametrize("norm", ["frozen", "batch", "per_task"])
def test_statistics_that_no_task_has_cannot_be_measured(
    norm: NormPolicy, blobs: Blobs, cnn: Callable[..., nn.Sequential]
) -> None:
    """Neither for one task, nor for several at once, nor in a stream."""
    module = nn.Sequential(nn.Flatten(), nn.Linear(36, 8)) if norm == "per_task" else cnn(8)
    said = "has no layer of batch normalisation" if norm == "per_task" else f'has norm="{norm}"'
    training, tasks = Training(4, statistics_batches=2), [blobs(name, 3, IMAGE) for name in "ab"]
    learner = Learner(Network(module, RandomBase(0), norm=norm), training=training)
    stream = StreamLearner(Network(module, RandomBase(0), norm=norm), range(3), training=training)
    inputs, targets = tasks[0].train.batch(torch.arange(16))
    for learn in (
        lambda: learner.learn(tasks[0]),
        lambda: learner.learn_together(tasks),
        lambda: stream.observe(inputs, targets),
    ):
        with pytest.raises(ConfigError, match=f"statistics_batches=2 .* the network {said}; leave it out"):
            learn()
    assert not learner.tasks
    assert not stream.tasks


def test_statistics_in_half_precision_are_rounded_and_what_that_changes_is_told(
    cnn: Callable[..., nn.Module], blobs: Blobs, tmp_path: Path
) -> None:
    task = blobs("t", 3, (1, 6, 6))
    full = Learner(cnn(8), training=Training(40, 16, Adam(1e-2)))
    half = Learner(cnn(8), training=Training(40, 16, Adam(1e-2), statistics_precision="float16"))
    assert full.learn(task).rounding == 0
    told = half.learn(task).rounding
    changed = False
    for name, value in full.bank["t"].buffers.items():
        expected = value.half().float() if value.is_floating_point() else value
        assert torch.equal(half.bank["t"].buffers[name], expected)
        changed = changed or not torch.equal(expected, value)
    assert changed
    # Of one batch, so at most that of all examples; and a rounding of 1 in 2048 is no more than a little.
    assert isinstance(task.train.inputs, Tensor)
    x = task.train.inputs
    change = (half.network.logits(x, half.bank["t"]) - full.network.logits(x, full.bank["t"])).abs().max()
    assert 0 < told <= float(change) < 0.02
    half.save(tmp_path / "bank")
    assert BankFolder(tmp_path / "bank").bytes().norm < 0.8 * full.bank.bytes().norm
    loaded = Learner.load(tmp_path / "bank", cnn(8))
    assert torch.equal(loaded.network.logits(x, loaded.bank["t"]), half.network.logits(x, half.bank["t"]))
    with pytest.raises(ConfigError, match="float16"):
        Training(statistics_precision="int8")  # pyright: ignore[reportArgumentType]


def test_statistics_beyond_half_precision_are_refused(cnn: Callable[..., nn.Module], blobs: Blobs) -> None:
    task = blobs("t", 3, (1, 6, 6))
    assert isinstance(task.train.inputs, Tensor)
    loud = replace(task, train=Examples(task.train.inputs * 1e5, task.train.targets))
    learner = Learner(cnn(8), training=Training(40, 16, Adam(1e-2), statistics_precision="float16"))
    with pytest.raises(TrainingError, match="float16"):
        learner.learn(loud)
    assert len(learner.bank) == 0


def test_weights_beyond_half_precision_are_an_error_of_the_training(blobs: Blobs) -> None:
    network = Network(fully_connected([8, 16, 6]), RandomBase(0))
    session = Individual(precision="float16").begin(Lesson(network, blobs("t"), 0, Past()))
    with torch.no_grad():
        session.parameters["1.weight"][0, 0] = 65504.0
        assert session.finish().changes["1.weight"].applied(torch.zeros(16, 8))[0, 0] == 65504.0
        session.parameters["1.weight"][0, 0] = 65520.0
    with pytest.raises(TrainingError, match=r"'1.weight' does not fit into float16; lower the learning rate"):
        session.finish()


class Counting(nn.Module):
    """A network whose output depends on how often it was called."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.norm = nn.Linear(8, 3), nn.BatchNorm1d(3)
        self.register_buffer("calls", torch.zeros(()))
        self.calls: Tensor

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.norm(self.linear(x)) + self.calls


@pytest.mark.parametrize("norm", ["per_task", "batch", "frozen"])
def test_a_forward_pass_in_training_leaves_the_network_alone(norm: str) -> None:
    network = Network(Counting(), RandomBase(0), norm=norm)
    x = torch.randn(6, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(*(network.forward(x, dict(network.weights), training=True) for _ in range(2)))
